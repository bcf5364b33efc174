//! The client's side: asks and waits for the answer. For programs that have nothing else to do meanwhile.

use super::frame::{self, Frames, TooLong};
use super::place;
use doula_model::control::{Answer, Asked, PROTOCOL, REPLY_LIMIT, REQUEST_LIMIT, Reply, Request, RequestId};
use doula_model::id::Pid;
use doula_sys::socket;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a supervisor may take for its first answer, or for taking a request: it never has to wait for
/// anything, so one that takes longer is stopped or stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a supervisor cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Nobody is there, or we may not.
    #[error("failed to connect to the supervisor: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection to the supervisor broke: {0}")]
    Broken(#[from] io::Error),
    /// The supervisor ended, or ended the connection.
    #[error("the supervisor closed the connection")]
    Closed,
    /// It takes too long.
    #[error("the supervisor does not answer")]
    Silent,
    /// It speaks something else.
    #[error("the supervisor sent something that is not understood: {0}")]
    Garbled(String),
    /// It does not want to speak with us.
    #[error("the supervisor refused the connection: {0}")]
    Refused(String),
}

impl From<TooLong> for ConnectionError {
    fn from(error: TooLong) -> ConnectionError {
        ConnectionError::Garbled(error.to_string())
    }
}

/// A connection to a supervisor, after the greeting.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    frames: Frames,
    last: RequestId,
    /// The family's name.
    pub family: String,
    /// The supervisor's pid.
    pub pid: Pid,
    /// The supervisor's program version.
    pub version: String,
}

impl Connection {
    /// Connects to this socket and says hello as `client`.
    ///
    /// # Errors
    /// Nobody listens there, or does not answer within ten seconds, or does not speak our version.
    pub fn open(socket: &Path, client: &str) -> Result<Connection, ConnectionError> {
        let stream = place::connect(socket).map_err(ConnectionError::Connect)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = Connection {
            stream,
            frames: Frames::new(REPLY_LIMIT),
            last: RequestId(0),
            family: String::new(),
            pid: Pid::INIT,
            version: String::new(),
        };
        connection.greet(client)?;
        Ok(connection)
    }

    /// Whether the supervisor's numbers of processes mean the same to us: it has the same number for both.
    pub fn is_of_our_namespace(&self) -> bool {
        socket::peer(&self.stream).is_ok_and(|peer| peer.pid == Some(self.pid))
    }

    fn greet(&mut self, client: &str) -> Result<(), ConnectionError> {
        self.ask(Request::Hello { protocol: PROTOCOL, client: client.to_owned() })?;
        let answer = self.next(Some(PATIENCE))?.ok_or(ConnectionError::Silent)?;
        match answer.reply {
            Reply::Hello { family, pid, version, .. } => {
                (self.family, self.pid, self.version) = (family, pid, version);
                Ok(())
            }
            Reply::Error(refusal) => Err(ConnectionError::Refused(refusal.text)),
            Reply::Status(_)
            | Reply::Settled { .. }
            | Reply::Changes { .. }
            | Reply::Log(_)
            | Reply::Event(_)
            | Reply::Missed { .. }
            | Reply::Why(_)
            | Reply::Upgraded { .. }
            | Reply::Output { .. }
            | Reply::End => Err(ConnectionError::Garbled("an answer before the greeting".to_owned())),
        }
    }

    /// Sends a request; its answers come from [`Connection::next`].
    ///
    /// # Errors
    /// The connection broke, or the supervisor takes nothing for ten seconds.
    pub fn ask(&mut self, request: Request) -> Result<RequestId, ConnectionError> {
        let id = RequestId(self.last.0.wrapping_add(1));
        self.last = id;
        let mut bytes = Vec::new();
        frame::encode(&Asked { id, request }, REQUEST_LIMIT, &mut bytes)?;
        match self.stream.write_all(&bytes) {
            Ok(()) => Ok(id),
            Err(error) if is_timeout(&error) => Err(ConnectionError::Silent),
            Err(error) if is_end(&error) => Err(ConnectionError::Closed),
            Err(error) => Err(ConnectionError::Broken(error)),
        }
    }

    /// The next answer to any request; `None` if nothing came for this time (`None`: waits for ever).
    ///
    /// # Errors
    /// The connection is closed or broke, or what came is not understood.
    pub fn next(&mut self, patience: Option<Duration>) -> Result<Option<Answer>, ConnectionError> {
        self.stream.set_read_timeout(patience.map(|time| time.max(Duration::from_millis(1))))?;
        loop {
            if let Some(frame) = self.frames.take()? {
                let answer = serde_json::from_slice(frame);
                return answer.map(Some).map_err(|error| ConnectionError::Garbled(error.to_string()));
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(count) => self.frames.push(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) if is_end(&error) => return Err(ConnectionError::Closed),
                Err(error) => return Err(ConnectionError::Broken(error)),
            }
        }
    }

    /// A second connection object over the same socket that only sends: for a thread of its own. Its request
    /// numbers start far from ours.
    ///
    /// # Errors
    /// No fd is left.
    pub fn sender(&self) -> io::Result<Connection> {
        Ok(Connection {
            stream: self.stream.try_clone()?,
            frames: Frames::new(REPLY_LIMIT),
            last: RequestId(1 << 31),
            family: self.family.clone(),
            pid: self.pid,
            version: self.version.clone(),
        })
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}
