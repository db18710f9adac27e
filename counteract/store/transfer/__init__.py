"""Events as lines of JSON (`lines`), exported from one store and imported into another (`bulk_import`)."""
