//! The connection to the servers: once it was there it is looked for again for ever, and both are told.

use crate::words::{Login, Tell};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A machine that was cut off is noticed after two of them.
const PING: Duration = Duration::from_secs(5);
/// No server takes longer to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// So much may wait in the client before whoever says more waits too: more than is said before we hear that the connection is lost.
const WAITING: usize = 1 << 16;
/// Between two looks for a server that is gone, at most.
const AGAIN: Duration = Duration::from_secs(1);

/// What happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Lost,
    Back,
}

/// What happens to a connection, one change after the other.
#[derive(Debug)]
pub(crate) struct Links {
    heard: UnboundedReceiver<Link>,
    now: Link,
}

impl Links {
    /// The next change; for ever, where none comes.
    pub(crate) async fn changed(&mut self) -> Link {
        loop {
            match self.heard.recv().await {
                Some(link) if link != self.now => {
                    self.now = link;
                    return link;
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// Connects; what happens to the connection later is told.
pub(crate) async fn connect(login: &Login) -> Result<(Client, Links), Tell> {
    let (links, heard) = unbounded_channel();
    let servers = login.servers.iter().map(|server| server.parse::<ServerAddr>());
    let servers: Vec<ServerAddr> =
        servers.collect::<Result<_, _>>().map_err(|error| wrong(format!("{}: {error}", shown(login))))?;
    let options = ConnectOptions::new()
        .name("doula")
        .connection_timeout(PATIENCE)
        .ping_interval(PING)
        .client_capacity(WAITING)
        .reconnect_delay_callback(|tries| {
            AGAIN.min(Duration::from_millis(50) * u32::try_from(tries).unwrap_or(20))
        })
        .event_callback(move |event| {
            let link = match event {
                Event::Connected => Some(Link::Back),
                Event::Disconnected => Some(Link::Lost),
                Event::LameDuckMode
                | Event::Draining
                | Event::Closed
                | Event::SlowConsumer(_)
                | Event::ServerError(_)
                | Event::ClientError(_) => None,
            };
            // Nobody hears it when all is over.
            let _told = link.map(|link| links.send(link));
            async {}
        });
    let mut options = identify(options, login).await?;
    // The client itself does not look at them.
    if let Some((user, password)) = servers.iter().find_map(user) {
        options = match password {
            Some(password) => options.user_and_password(user, password),
            None => options.token(user),
        };
    }
    let client = options.connect(servers).await.map_err(|error| refused(login, &error))?;
    Ok((client, Links { heard, now: Link::Back }))
}

/// Who we are, and whom we trust.
async fn identify(mut options: ConnectOptions, login: &Login) -> Result<ConnectOptions, Tell> {
    if let Some(ca) = &login.ca {
        options = options.add_root_certificates(readable(ca)?.to_owned()).require_tls(true);
    }
    if let Some((certificate, key)) = &login.certificate {
        options =
            options.add_client_certificate(readable(certificate)?.to_owned(), readable(key)?.to_owned());
    }
    if let Some(creds) = &login.creds {
        let read = options.credentials_file(readable(creds)?).await;
        options =
            read.map_err(|error| wrong(format!("`{}` has no credentials: {error}", creds.display())))?;
    }
    if let Some(path) = &login.nkey {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| wrong(format!("`{}`: {error}", path.display())))?;
        options = options.nkey(text.trim().to_owned());
    }
    if let Some(token) = &login.token {
        options = options.token(token.clone());
    }
    if let Some(user) = &login.user {
        options = options.user_and_password(user.clone(), login.password.clone().unwrap_or_default());
    }
    Ok(options)
}

/// Who the address says we are; a user without a password is a token.
fn user(server: &ServerAddr) -> Option<(String, Option<String>)> {
    Some((plain(server.username()?), server.password().map(plain)))
}

/// Without the `%40` that an address has for `@`.
fn plain(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = behind.get(if byte.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn readable(path: &Path) -> Result<&Path, Tell> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(path),
        Err(error) => Err(wrong(format!("`{}`: {error}", path.display()))),
    }
}

fn wrong(why: String) -> Tell {
    Tell::Refused { usage: true, why }
}

fn refused(login: &Login, error: &async_nats::ConnectError) -> Tell {
    let (servers, why) = (shown(login), reason(error));
    match error.kind() {
        ConnectErrorKind::ServerParse => wrong(format!("{servers} is no address of a NATS server: {why}")),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            wrong(format!("{servers} refused the login: {why}"))
        }
        ConnectErrorKind::Tls => wrong(format!("no TLS with {servers}: {why}")),
        ConnectErrorKind::Dns
        | ConnectErrorKind::TimedOut
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => {
            Tell::Refused { usage: false, why: format!("no NATS server at {servers}: {why}") }
        }
    }
}

/// The innermost cause says it best.
fn reason(error: &async_nats::ConnectError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The servers without secrets.
pub(crate) fn shown(login: &Login) -> String {
    let without = |server: &String| match server.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest)),
        None => server.rsplit('@').next().unwrap_or(server).to_owned(),
    };
    login.servers.iter().map(without).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_say_who_we_are() {
        let of = |url: &str| user(&url.parse().expect("an address"));
        assert_eq!(of("nats://me:a%40b@host"), Some(("me".to_owned(), Some("a@b".to_owned()))));
        assert_eq!(of("nats://token@host"), Some(("token".to_owned(), None)));
        assert_eq!(of("host"), None);
    }

    #[test]
    fn no_secret_of_an_address_is_shown() {
        let servers = ["nats://me:secret@a:4222", "b", "token@c:1"].map(str::to_owned).to_vec();
        assert_eq!(shown(&Login { servers, ..Login::default() }), "nats://a:4222, b, c:1");
    }
}
