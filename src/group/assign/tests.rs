//! The assignors.
