//! What a supervisor writes down of its family: one entry after the other, of which the last one of a kind counts.
//!
//! Who writes, and where the processes of a life are, is said in the words of a world: both are open here.
//!
//! Absent on purpose: how an entry becomes bytes. What is written when, and what is read again, is decided in `doula_core::journal`.

use crate::id::ServiceId;
use crate::recipe::SocketAddress;
use crate::record::Life;
use crate::service::ServiceSpec;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;

/// One entry. `H` says who writes, `P` where the processes of a life are.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Entry<H, P> {
    /// Who writes. The first line.
    Head(H),
    /// What a service is in this life.
    Spec(ServiceId, Arc<ServiceSpec>),
    /// What it will be in the next one.
    Next(ServiceId, Option<Arc<ServiceSpec>>),
    /// Where it is in its life.
    Life(ServiceId, Box<Life>),
    /// It is no longer part of the family.
    Gone(ServiceId),
    /// Where the processes of a life are that are not where a new one's would be.
    Held(ServiceId, P),
    /// A socket at this address was opened under this number, for this slot of a pool.
    Socket(u32, SocketAddress, Option<u32>),
    /// Something was left with us under this number and name.
    Stored(u32, String),
}
