//! The upstreams that we call. A provider never names a front.

pub mod xai;
