"""The service over HTTP: Structs in, problem details out."""
