//! How far an area goes, and how it leaves the meter: nothing is done that no rule was chosen for, and what was changed is
//! put back even if the tester ends the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Lab, Stop};
use crate::catalogue::areas;
use crate::verdict::Rule;

impl Lab<'_> {
    /// Ends the area here if those of its rules that have these numbers are the only ones that were chosen: what follows
    /// does more than they need.
    pub fn go_beyond(&self, numbers: &[&str]) -> Result<(), Stop> {
        let number = |it: &Rule| it.id.rsplit_once('/').map_or(it.id, |it| it.1);
        match self.chooses(|it| !numbers.contains(&number(it))) {
            true => Ok(()),
            false => Err(Stop::Skip("no rule was chosen that needs more".into())),
        }
    }

    /// Whether a rule of this area was chosen of which `which` says so.
    pub fn chooses(&self, which: impl Fn(&Rule) -> bool) -> bool {
        let mut rules = areas().into_iter().filter(|it| it.name == self.area).flat_map(|it| it.rules);
        rules.any(|it| self.options.chooses_rule(it) && which(it))
    }

    /// Ends at the next request once this flag is set, apart from what puts something back.
    pub fn end_with(&mut self, flag: Arc<AtomicBool>) {
        self.ended = flag;
    }

    /// Puts something back, whatever came before it: a signal does not end it, and an old login does not hinder it.
    pub fn put_back<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        self.putting_back = true;
        self.forget_login();
        let res = what(self);
        self.putting_back = false;
        res
    }

    /// Tells the tester, however quiet it was to be, what the meter was left with.
    pub fn warn(&self, text: &str) {
        eprintln!("meter-conformance: {}: {text}", self.area);
    }

    /// Whether there is to be another request.
    pub(super) fn go_on(&self) -> Result<(), Stop> {
        match self.ended.load(Ordering::SeqCst) && !self.putting_back {
            true => Err(Stop::Ended),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Request;
    use crate::options::Options;

    #[test]
    fn who_ends_a_run_ends_all_but_what_puts_something_back() {
        // Nobody listens there.
        let args = ["--url", "http://127.0.0.1:9/api", "--replay", "none", "--timeout", "1"];
        let mut options = Options::parse(args.iter().map(|it| it.to_string())).unwrap();
        options.target = crate::http::Target::parse(&options.url).unwrap();
        let mut lab = Lab::new(&options);
        lab.end_with(Arc::new(AtomicBool::new(true)));
        let look = Request::get("/auth/unauthorized").anonymous();
        assert!(matches!(lab.send("x", &look), Err(Stop::Ended)));
        assert!(lab.put_back(|lab| lab.send("x", &look)).is_ok());
        assert!(matches!(lab.send("x", &look), Err(Stop::Ended)));
    }
}
