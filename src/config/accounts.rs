//! Users and groups by name or number, as the machine's name service knows them.

use super::problem::Complaint;
use doula_model::plan::Credentials;
use uzers::os::unix::UserExt;

/// A user that exists: what the environment wants to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Its numbers.
    pub(crate) credentials: Credentials,
    /// HOME, USER, LOGNAME and SHELL; empty for a bare number without a name.
    pub(crate) variables: Vec<(String, String)>,
}

/// The user that doula runs as, without a look at any file.
pub(crate) fn own() -> Account {
    let groups = uzers::group_access_list().unwrap_or_default();
    let groups = groups.iter().map(uzers::Group::gid).collect();
    let credentials = Credentials { uid: uzers::get_current_uid(), gid: uzers::get_current_gid(), groups };
    Account { credentials, variables: Vec::new() }
}

/// Looks up a user by name or number. A number need not be known; it then has the group of the same number.
pub(crate) fn user(text: &str) -> Result<Account, Complaint> {
    let number = text.parse().ok();
    let found = match number {
        Some(uid) => uzers::get_user_by_uid(uid),
        None => uzers::get_user_by_name(text),
    };
    match (found, number) {
        (Some(user), _) => Ok(known(&user)),
        (None, Some(uid)) => {
            let credentials = Credentials { uid, gid: uid, groups: Vec::new() };
            Ok(Account { credentials, variables: Vec::new() })
        }
        (None, None) => {
            let complaint =
                Complaint::new(format!("there is no user `{text}` on this machine"), "unknown user");
            Err(complaint.help("create it, or write an existing user or a number"))
        }
    }
}

fn known(user: &uzers::User) -> Account {
    let name = user.name().to_string_lossy().into_owned();
    let gid = user.primary_group_id();
    let groups = uzers::get_user_groups(&name, gid).unwrap_or_default();
    let mut groups: Vec<u32> = groups.iter().map(uzers::Group::gid).filter(|group| *group != gid).collect();
    groups.sort_unstable();
    let variables = [
        ("HOME", user.home_dir().to_string_lossy().into_owned()),
        ("LOGNAME", name.clone()),
        ("SHELL", user.shell().to_string_lossy().into_owned()),
        ("USER", name),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Account { credentials: Credentials { uid: user.uid(), gid, groups }, variables }
}

/// Looks up a group by name or number. A number need not be known.
pub(crate) fn group(text: &str) -> Result<u32, Complaint> {
    if let Ok(gid) = text.parse() {
        return Ok(gid);
    }
    uzers::get_group_by_name(text).map(|group| group.gid()).ok_or_else(|| {
        Complaint::new(format!("there is no group `{text}` on this machine"), "unknown group")
            .help("create it, or write an existing group or a number")
    })
}
