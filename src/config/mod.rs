//! The config file: parsing, defaults, and errors that name file, line and key.
