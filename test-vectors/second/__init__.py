"""A second implementation of undertone, written from spec/ alone, so that two can be compared.

One module per chapter: conventions, identity, log (of envelope and relay), direct (dm). Nothing here has seen the library.
It is slow, and not made for secrets: it runs on test vectors.
"""
