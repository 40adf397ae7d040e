//! What the fronts of images and videos have in common: forms, sources, links, and the files themselves.

pub mod files;
pub mod form;
pub mod later;
pub mod links;
pub mod sources;
pub mod uploads;
