//! Where the queue is and who we are: options, and the variables that the command `nats` has.

use super::super::template::quote;
use crate::error::Failure;
use doula_gateway::words::Login;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// The queue that has no name in its URL.
const QUEUE: &str = "jobs";

/// Where a queue is, and how one gets in.
#[derive(Debug, clap::Args)]
pub(in crate::verbs) struct QueueArgs {
    /// The servers of the queue, and its name: nats://host:4222/thumbs, tls://user:password@host [default: $NATS_URL]
    #[arg(long, value_name = "URL")]
    pub(in crate::verbs) queue: Option<String>,

    /// A file of credentials, JWT and seed [default: $NATS_CREDS]
    #[arg(long, value_name = "FILE")]
    creds: Option<PathBuf>,

    /// A file with the seed of an nkey [default: $NATS_NKEY]
    #[arg(long, value_name = "FILE")]
    nkey: Option<PathBuf>,

    /// The certificate authority of the servers; asks for TLS [default: $NATS_CA]
    #[arg(long, alias = "tlsca", value_name = "FILE")]
    tls_ca: Option<PathBuf>,

    /// Our own certificate [default: $NATS_CERT]
    #[arg(long, alias = "tlscert", value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// Its key [default: $NATS_KEY]
    #[arg(long, alias = "tlskey", value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

impl QueueArgs {
    /// Whether anything of it was said on the command line.
    pub(in crate::verbs) fn is_given(&self) -> bool {
        let QueueArgs { queue, creds, nkey, tls_ca, tls_cert, tls_key } = self;
        queue.is_some() || [creds, nkey, tls_ca, tls_cert, tls_key].iter().any(|path| path.is_some())
    }

    /// All of it together, with what the environment says.
    pub(in crate::verbs) fn login(&self) -> Result<Login, Failure> {
        self.login_in(&|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn login_in(&self, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Login, Failure> {
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        let url = self.queue.clone().or_else(|| text("NATS_URL")).ok_or_else(|| {
            Failure::usage("no queue was named")
                .hint("--queue nats://HOST:4222/NAME, or the variable NATS_URL")
        })?;
        let (servers, queue) = split(&url)?;
        let path =
            |option: &Option<PathBuf>, name: &str| option.clone().or_else(|| variable(name).map(Into::into));
        let certificate = match (path(&self.tls_cert, "NATS_CERT"), path(&self.tls_key, "NATS_KEY")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(Failure::usage(
                    "a certificate needs its key: --tls-cert and --tls-key go together",
                ));
            }
        };
        // As `nats` has it: a user without a password is a token.
        let (user, password) = (text("NATS_USER"), text("NATS_PASSWORD"));
        let (user, token) = if password.is_some() { (user, None) } else { (None, user) };
        Ok(Login {
            servers,
            queue,
            user,
            password,
            token: token.or_else(|| text("NATS_TOKEN")),
            creds: path(&self.creds, "NATS_CREDS"),
            nkey: path(&self.nkey, "NATS_NKEY"),
            ca: path(&self.tls_ca, "NATS_CA"),
            certificate,
        })
    }
}

/// The servers, and the name of the queue behind the last one.
fn split(url: &str) -> Result<(Vec<String>, String), Failure> {
    let mut servers: Vec<String> = url.split(',').map(|server| server.trim().to_owned()).collect();
    let mut queue = QUEUE.to_owned();
    if let Some(last) = servers.last_mut() {
        let host = last.find("://").map_or(0, |at| at + 3);
        let slash = last.get(host..).and_then(|rest| rest.find('/')).map(|at| host + at);
        if let Some(slash) = slash {
            let name = last.split_off(slash);
            let name = name.trim_matches('/');
            if !name.is_empty() {
                queue = name.to_owned();
            }
        }
    }
    check_name("queue", &queue)?;
    if let Some((scheme, _)) = servers.iter().filter_map(|server| server.split_once("://")).find(is_strange) {
        return Err(Failure::usage(format!("`{scheme}://` is no address of a NATS server"))
            .hint("--queue nats://HOST:4222/NAME, or tls://HOST:4222/NAME"));
    }
    match servers.iter().find(|server| server.is_empty() || server.ends_with("://")) {
        Some(_) => {
            let url = quote(url.as_ref());
            Err(Failure::usage(format!("{} names no server", url.to_string_lossy()))
                .hint("--queue nats://HOST:4222/NAME"))
        }
        None => Ok((servers, queue)),
    }
}

/// Whether NATS is not spoken in this way.
fn is_strange((scheme, _): &(&str, &str)) -> bool {
    !["nats", "tls"].contains(scheme)
}

/// A name that may stand in a subject of NATS.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let good = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if !name.is_empty() && name.chars().all(good) {
        return Ok(());
    }
    Err(Failure::usage(format!("`{name}` is no name of a {what}: letters, digits, - and _ make one")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(queue: Option<&str>) -> QueueArgs {
        let queue = queue.map(str::to_owned);
        QueueArgs { queue, creds: None, nkey: None, tls_ca: None, tls_cert: None, tls_key: None }
    }

    #[test]
    fn the_name_of_the_queue_stands_behind_the_last_server() {
        let of = |url| split(url).map(|(servers, queue)| (servers.join(" "), queue));
        let found = |servers: &str, queue: &str| Ok((servers.to_owned(), queue.to_owned()));
        assert_eq!(of("nats://a:4222/thumbs"), found("nats://a:4222", "thumbs"));
        assert_eq!(of("a"), found("a", "jobs"));
        assert_eq!(of("a,tls://u:p@b:1/x/"), found("a tls://u:p@b:1", "x"));
        assert!(of("").is_err() && of("nats://").is_err() && of("nats://a/x.y").is_err());
    }

    #[test]
    fn options_go_before_the_variables_of_nats() {
        let variable = |name: &str| match name {
            "NATS_URL" => Some("nats://env/e".into()),
            "NATS_USER" => Some("me".into()),
            "NATS_CREDS" => Some("/env.creds".into()),
            _ => None,
        };
        let login = args(Some("nats://option")).login_in(&variable).expect("a login");
        assert_eq!((login.servers, login.queue), (vec!["nats://option".to_owned()], "jobs".to_owned()));
        assert_eq!((login.user, login.token.as_deref()), (None, Some("me")));
        assert_eq!(login.creds, Some("/env.creds".into()));
        assert_eq!(args(None).login_in(&variable).expect("a login").queue, "e");
        let nothing = args(None).login_in(&|_| None).map(|login| login.queue);
        assert!(nothing.is_err_and(|failure| failure.text == "no queue was named"));
    }
}
