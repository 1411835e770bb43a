//! Fuzz targets of Roadbed
