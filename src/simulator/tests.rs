//! The simulator over a socket, as a client sees it.

mod client;
mod fronts;
mod limits;
mod media;
mod misbehaviour;
mod shapes;
mod validation;
