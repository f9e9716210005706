"""The inputs of the vectors, one module per chapter. Everything random in them is `fixed(what it is)`."""
