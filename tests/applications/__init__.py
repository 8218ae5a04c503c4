"""Small applications that know nothing of this repository, in the shape of well-known ones."""
