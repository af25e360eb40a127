//! User processes: what starts them, what they are connected to, and the table of those not yet forgotten.

pub mod accounts;
pub mod child;
pub mod request;
pub mod retained;
pub mod start;
pub mod stdin;
pub mod stdout;
pub mod table;
