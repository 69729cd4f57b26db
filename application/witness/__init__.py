"""What others add to a checkpoint: cosignatures of witnesses, time stamps, the post-quantum line."""
