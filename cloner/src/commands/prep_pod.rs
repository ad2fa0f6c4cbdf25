//! The one thing that CDI asks of a shell in the cloner's image. Before a volume is bound or grown, its controller runs
//! a pod from that image that does nothing but mount it: `/bin/bash -c echo 'hello cdi'`. The image has no shell; its
//! `/bin/bash` is this program under another name.

use std::ffi::OsString;
use std::path::Path;

/// What stands behind the program's name in a prep pod.
const WORDS: [&str; 3] = ["-c", "echo", "'hello cdi'"];

/// What a program that was called like this is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// Under its own name.
    Cloner,
    /// By a prep pod: being there was all.
    Prep,
    /// As a shell, for something else.
    Shell,
}

/// Looks at the command line, the program's name first.
pub fn called(words: &[OsString]) -> Called {
    let Some((program, rest)) = words.split_first() else { return Called::Cloner };
    if Path::new(program).file_name().is_none_or(|name| name != "bash") {
        Called::Cloner
    } else if rest.iter().eq(WORDS.iter()) {
        Called::Prep
    } else {
        Called::Shell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_prep_pod_gets_what_it_came_for() {
        assert_eq!(called(&words(&["/bin/bash", "-c", "echo", "'hello cdi'"])), Called::Prep);
    }

    #[test]
    fn there_is_no_shell() {
        for list in
            [&["/bin/bash"][..], &["bash", "-c", "ls"], &["/bin/bash", "-c", "echo", "'hello cdi'", "x"]]
        {
            assert_eq!(called(&words(list)), Called::Shell, "{list:?}");
        }
    }

    #[test]
    fn under_its_own_name_it_is_the_cloner() {
        for list in
            [&["/usr/bin/cloner"][..], &["cloner", "-c", "echo", "'hello cdi'"], &["./bash/cloner"], &[]]
        {
            assert_eq!(called(&words(list)), Called::Cloner, "{list:?}");
        }
    }
}
