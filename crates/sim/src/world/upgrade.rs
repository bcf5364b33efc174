//! The supervisor goes on as another program under the same number, as in `crates/host/src/linux/upgrade.rs`: it writes all down and
//! executes; what is open stays with its keeper, and the new program takes over as if the old one had been killed.

use super::World;
use super::birth::PROGRAM;
use crate::kernel::Program;
use crate::kernel::call::Call;
use alloc::boxed::Box;
use doula_core::engine::Engine;

impl World<'_> {
    /// When all that was decided is done and nothing waits to be told.
    pub(super) fn upgrade_if_asked(&mut self, engine: &Engine) {
        if !self.upgrade_is_asked || !self.pending.is_empty() || self.killed {
            return;
        }
        self.upgrade_is_asked = false;
        let kept = self.keeper.is_some() && self.keeper_is_found;
        if self.desk_ends() || !kept || !self.write_anew(engine) {
            return self.log.say(self.now, "supervisor", "no upgrade now");
        }
        let program = Box::new(Program::new(PROGRAM));
        if self.call(Call::Execve(program)).is_ok() && !self.killed {
            // execve(2) does not come back: what was running does nothing any more.
            (self.upgraded, self.killed) = (true, true);
        }
    }

    /// The first moment of the new program: all that was open is its keeper's.
    pub(super) fn begin_again(&mut self) {
        self.log.note(self.now, "upgraded");
        self.log.say(self.now, "supervisor", "is another program now");
        (self.upgraded, self.killed) = (false, false);
        self.counter.hand_over();
        self.died = self.now;
        self.look_later();
        self.unheard.extend(self.heard.take());
        self.leave_estate();
        self.doors_are_gone();
        self.begin_program();
    }
}
