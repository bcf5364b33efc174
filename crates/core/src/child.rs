//! The children of one generation that were asked for and did not end yet: at most one of each role.

use doula_model::id::{Pid, Role};
pub(crate) use doula_model::record::Child;
use doula_model::time::Time;

/// The children of one generation, by role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children([Option<Child>; 6]);

/// Every role, in the order of their places in [`Children`].
pub(crate) const ROLES: [Role; 6] =
    [Role::Main, Role::PreStart, Role::PostStop, Role::Reload, Role::ReadyProbe, Role::LiveProbe];

impl Children {
    /// The child of this role, if there is one.
    pub(crate) fn get(&self, role: Role) -> Option<Child> {
        self.0[role as usize]
    }

    /// The child of this role, to be changed.
    pub(crate) fn slot(&mut self, role: Role) -> &mut Option<Child> {
        &mut self.0[role as usize]
    }

    /// The number of the child of this role, if it lives.
    pub(crate) fn pid(&self, role: Role) -> Option<Pid> {
        match self.get(role)? {
            Child::Asked { .. } => None,
            Child::Alive { pid, .. } => Some(pid),
        }
    }

    /// Since when the child of this role lives, if it does.
    pub(crate) fn born(&self, role: Role) -> Option<Time> {
        match self.get(role)? {
            Child::Asked { .. } => None,
            Child::Alive { born, .. } => Some(born),
        }
    }

    /// Nobody was asked for, and nobody lives.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_place_of_its_own() {
        for (place, role) in ROLES.into_iter().enumerate() {
            assert_eq!(role as usize, place, "{role:?}");
        }
    }
}
