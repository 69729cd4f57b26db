"""Requests for erasure, holds, and the destruction of what they name."""
