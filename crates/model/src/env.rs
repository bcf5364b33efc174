//! The environment of a child: what the whole family inherits is kept once, each service adds its own.
//!
//! A thousand services that all inherited their supervisor's forty variables would otherwise hold them a
//! thousand times.

use alloc::ffi::CString;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Names and values.
pub type Variables = Vec<(String, String)>;

/// Variables that many environments share, also in the form in which execve(2) takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    variables: Variables,
    joined: Arc<Vec<CString>>,
}

impl Base {
    /// Each name once. A variable with a NUL byte in it cannot be passed to anybody, and is left out.
    pub fn new(mut variables: Variables) -> Base {
        variables.retain(|(name, value)| !name.contains('\0') && !value.contains('\0'));
        let join = |(name, value): &(String, String)| CString::new([name, "=", value].concat()).ok();
        let joined = Arc::new(variables.iter().filter_map(join).collect());
        Base { variables, joined }
    }

    /// Names and values.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }
}

/// Variables in two layers; a name in the upper one hides the same name in the lower one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    base: Arc<Base>,
    own: Variables,
}

impl Environment {
    /// What is shared, and what is set beside and above it. Each layer names a variable once.
    pub fn new(base: Arc<Base>, own: Variables) -> Environment {
        Environment { base, own }
    }

    /// The shared layer.
    pub fn base(&self) -> &Arc<Base> {
        &self.base
    }

    /// The shared layer as `NAME=value`.
    pub fn joined_base(&self) -> Arc<Vec<CString>> {
        self.base.joined.clone()
    }

    /// The upper layer.
    pub fn own(&self) -> &[(String, String)] {
        &self.own
    }

    /// Every variable once, with the value that counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let hidden = |name: &String| self.own.iter().any(|(own, _)| own == name);
        let base = self.base.variables.iter().filter(move |(name, _)| !hidden(name));
        base.chain(&self.own).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut layers = self.own.iter().chain(&self.base.variables);
        layers.find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Sets a variable of the upper layer.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.own.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.own.push((name, value)),
        }
    }
}

/// As a map of names to values, whatever layer they come from.
#[cfg(feature = "serde")]
mod as_map {
    use super::{Environment, String};
    use alloc::collections::BTreeMap;
    use alloc::sync::Arc;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    impl Serialize for Environment {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_map(self.iter())
        }
    }

    impl<'de> Deserialize<'de> for Environment {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Environment, D::Error> {
            let map = BTreeMap::<String, String>::deserialize(from)?;
            Ok(Environment::new(Arc::default(), map.into_iter().collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn an_own_variable_hides_the_shared_one() {
        let pair = |name: &str, value: &str| (String::from(name), String::from(value));
        let mut env = Environment::new(Arc::new(Base::new(vec![pair("A", "1"), pair("B", "2")])), Vec::new());
        env.set("A", "3");
        env.set("C", "4");
        env.set("C", "5");
        assert_eq!(env.iter().collect::<Vec<_>>(), [("B", "2"), ("A", "3"), ("C", "5")]);
        assert_eq!((env.get("A"), env.get("B"), env.get("D")), (Some("3"), Some("2"), None));
    }
}
