//! CDI's prep pods. Before a volume is bound or grown, CDI's controller runs a pod with the cloner's image that only
//! mounts the volume: `/bin/bash -c echo 'hello cdi'`. The image has no shell: its `/bin/bash` is this program under
//! another name.

use std::ffi::OsString;
use std::path::Path;

/// The arguments in a prep pod.
const ARGUMENTS: [&str; 3] = ["-c", "echo", "'hello cdi'"];

/// How this program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// By its own name.
    Cloner,
    /// By a prep pod, which needs no work.
    Prep,
    /// As a shell, with another command.
    Shell,
}

/// Determines this from the command line, including the name of the program.
pub fn called(command_line: &[OsString]) -> Called {
    let Some((program, rest)) = command_line.split_first() else { return Called::Cloner };
    if Path::new(program).file_name().is_none_or(|name| name != "bash") {
        Called::Cloner
    } else if rest.iter().eq(ARGUMENTS.iter()) {
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
    fn the_command_of_a_prep_pod_is_recognized() {
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
