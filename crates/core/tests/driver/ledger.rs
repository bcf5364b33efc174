//! What must hold in a world on paper, whatever its kernel, its processes and its people do.

use doula_model::action::{News, Report};
use doula_model::id::{Generation, Role, ServiceId};
use std::collections::BTreeSet;

/// Who was born, who was buried, and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    births: u64,
    buried: BTreeSet<u64>,
    /// The children of whom people were told that they live.
    told: BTreeSet<(Option<ServiceId>, Generation, Role)>,
}

impl Ledger {
    /// A process was born; the result is what it is known by for ever.
    pub(crate) fn born(&mut self) -> u64 {
        self.births += 1;
        self.births
    }

    pub(crate) fn each_birth_is_buried_once(&mut self, serial: u64) {
        assert!(self.buried.insert(serial), "buried twice");
    }

    pub(crate) fn every_end_follows_its_birth(&mut self, report: &Report) {
        let of = |role| (report.service, report.generation, role);
        if let News::Born { role, .. } = report.news {
            assert!(self.told.insert(of(role)), "born twice without an end: {report:?}");
        }
        if let News::Exited { role, .. } = report.news {
            assert!(self.told.remove(&of(role)), "an end without a birth: {report:?}");
        }
    }

    pub(crate) fn nobody_lives_when_the_family_is_empty(&self, living: usize) {
        assert_eq!((living, &self.told), (0, &BTreeSet::new()), "the family is not empty");
    }

    pub(crate) fn all_are_buried(&self) {
        assert_eq!(self.buried.len() as u64, self.births, "somebody was not buried");
    }
}
