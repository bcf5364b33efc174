//! What an epoll event is about, packed into the 64 bits that epoll keeps for us.

use doula_model::id::{Pid, PoolId, ServiceId};

/// The subject of a wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// The pidfd of a child.
    Child(Pid),
    /// The signalfd.
    Signals,
    /// The output of the services: an epoll set of the collector's own.
    Logs,
    /// The sd_notify socket of a service.
    Notify(ServiceId),
    /// The readiness fd of a service.
    ReadyFd(ServiceId),
    /// `cgroup.events` of a service.
    Tree(ServiceId),
    /// A service was short of memory.
    Memory(ServiceId),
    /// A connection waits for a pool.
    Pool(PoolId),
    /// The timer of the schedules.
    Schedule,
    /// The control socket and its clients: an epoll set of the server's own.
    Control,
}

impl Token {
    /// The tag in the high half, the number in the low half.
    pub(super) fn pack(self) -> u64 {
        let (tag, number) = match self {
            Token::Child(pid) => (1, pid.get() as u32),
            Token::Signals => (2, 0),
            Token::Logs => (3, 0),
            Token::Notify(id) => (4, id.0),
            Token::ReadyFd(id) => (5, id.0),
            Token::Tree(id) => (6, id.0),
            Token::Schedule => (7, 0),
            Token::Control => (8, 0),
            Token::Memory(id) => (9, id.0),
            Token::Pool(pool) => (10, pool.0),
        };
        (tag << 32) | u64::from(number)
    }

    /// The inverse of [`Token::pack`].
    pub(super) fn unpack(bits: u64) -> Option<Token> {
        let number = bits as u32;
        Some(match bits >> 32 {
            1 => Token::Child(Pid::new(number as i32)?),
            2 => Token::Signals,
            3 => Token::Logs,
            4 => Token::Notify(ServiceId(number)),
            5 => Token::ReadyFd(ServiceId(number)),
            6 => Token::Tree(ServiceId(number)),
            7 => Token::Schedule,
            8 => Token::Control,
            9 => Token::Memory(ServiceId(number)),
            10 => Token::Pool(PoolId(number)),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_survives_its_packing() {
        let id = ServiceId(u32::MAX);
        let child = Token::Child(Pid::new(i32::MAX).unwrap_or(Pid::INIT));
        let pool = Token::Pool(PoolId(7));
        let services = [pool, Token::Notify(id), Token::ReadyFd(id), Token::Tree(id), Token::Memory(id)];
        for token in
            [child, Token::Signals, Token::Logs, Token::Schedule, Token::Control].iter().chain(&services)
        {
            assert_eq!(Token::unpack(token.pack()), Some(*token));
        }
        assert_eq!(Token::unpack(0), None);
    }
}
