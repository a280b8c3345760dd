//! ingestor
