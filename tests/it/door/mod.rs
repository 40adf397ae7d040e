//! The door over real sockets.

mod clients;
mod connections;
mod exhaustion;
mod limits;
mod nginx;
mod shutdown;
mod stand;
mod tls;
