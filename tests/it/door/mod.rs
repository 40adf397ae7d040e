//! The door over real sockets.

mod clients;
mod connections;
mod limits;
mod shutdown;
mod stand;
mod tls;
