//! Privileges, which a user has, and rights, which a request has: the same user may have fewer rights from afar. It does
//! not know which resource asks for which right.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A user's privileges, by the names of the WebAPI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges(u32);

const UNLIMITED_SAVE: u32 = 1;
const LOCAL_SAVE: u32 = 2;
const VIEW_SETTINGS: u32 = 4;
const CTRL: u32 = 8;
/// Real meters hide registers from such a user; here the name is accepted and adds no right.
const RESTRICTED_VIEW: u32 = 16;

const NAMES: [(&str, u32); 5] = [
    ("unlimited_save", UNLIMITED_SAVE),
    ("local_save", LOCAL_SAVE),
    ("view_settings", VIEW_SETTINGS),
    ("ctrl", CTRL),
    ("restricted_view", RESTRICTED_VIEW),
];

impl Privileges {
    /// Everything that is allowed to anyone.
    pub const OWNER: Privileges = Privileges(UNLIMITED_SAVE | LOCAL_SAVE | VIEW_SETTINGS | CTRL);

    /// Reads a list such as `local_save,ctrl`; the empty text is the empty list.
    pub fn parse(list: &str) -> Result<Self, UnknownPrivilege> {
        list.split(',').filter(|it| !it.is_empty()).try_fold(Privileges::default(), Privileges::and)
    }

    /// The names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |(_, bit)| self.has(*bit)).map(|(name, _)| name)
    }

    /// The bit mask that a token shows to clients.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The rights of a request by a user with these privileges; `local` is asked only if it matters.
    pub fn rights(self, local: impl FnOnce() -> bool) -> Rights {
        let save = self.has(UNLIMITED_SAVE) || (self.has(LOCAL_SAVE) && local());
        Rights { save, ctrl: self.has(CTRL), view: save || self.has(VIEW_SETTINGS) }
    }

    fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    fn and(self, name: &str) -> Result<Self, UnknownPrivilege> {
        let known = NAMES.iter().find(|(it, _)| *it == name);
        known.map(|(_, bit)| Privileges(self.0 | bit)).ok_or_else(|| UnknownPrivilege(name.into()))
    }
}

impl<'de> Deserialize<'de> for Privileges {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        names.iter().try_fold(Privileges::default(), |res, name| res.and(name)).map_err(D::Error::custom)
    }
}

/// A name that is no privilege.
#[derive(Debug, PartialEq)]
pub struct UnknownPrivilege(pub String);

impl fmt::Display for UnknownPrivilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown privilege {:?}; there are", self.0)?;
        NAMES.iter().enumerate().try_for_each(|(at, (name, _))| write!(f, "{}{name}", if at == 0 { " " } else { ", " }))
    }
}

impl std::error::Error for UnknownPrivilege {}

/// What a request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Change things: every command needs it.
    pub save: bool,
    /// Operate what the meter controls.
    pub ctrl: bool,
    /// See settings and recorded data.
    pub view: bool,
}

impl Rights {
    /// The names that the WebAPI lists at `/auth/rights`; `view` has none there.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [("save", self.save), ("ctrl", self.ctrl)].into_iter().filter(|(_, has)| *has).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_become_rights() {
        // Privileges, then save/ctrl/view from afar and from near.
        let cases = [
            ("", "---", "---"),
            ("unlimited_save", "s-v", "s-v"),
            ("local_save", "---", "s-v"),
            ("view_settings", "--v", "--v"),
            ("ctrl", "-c-", "-c-"),
            ("restricted_view", "---", "---"),
            ("local_save,view_settings", "--v", "s-v"),
            ("local_save,ctrl,unlimited_save", "scv", "scv"),
        ];
        let show = |it: Rights| {
            let mark = |has, it| if has { it } else { '-' };
            [mark(it.save, 's'), mark(it.ctrl, 'c'), mark(it.view, 'v')].iter().collect::<String>()
        };
        for (names, far, near) in cases {
            let privileges = Privileges::parse(names).unwrap();
            assert_eq!(show(privileges.rights(|| false)), far, "{names:?} from afar");
            assert_eq!(show(privileges.rights(|| true)), near, "{names:?} from near");
        }
    }

    #[test]
    fn names_come_back_and_unknown_ones_are_named() {
        let all = "unlimited_save,local_save,view_settings,ctrl,restricted_view";
        assert_eq!(Privileges::parse(all).unwrap().names().collect::<Vec<_>>().join(","), all);
        let err = Privileges::parse("ctrl,root").unwrap_err().to_string();
        assert_eq!(err, format!("unknown privilege \"root\"; there are {}", all.replace(',', ", ")));
        assert_eq!(Privileges::OWNER.rights(|| false).names().collect::<Vec<_>>(), ["save", "ctrl"]);
    }
}
