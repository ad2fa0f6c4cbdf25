//! Selects the cluster and the user: kubeconfigs, contexts, and the service account of a pod.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::api::responses::chain;

/// The cluster options of a command line.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// The only kubeconfig to read; by default `$KUBECONFIG`, a list of files, or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// The context to use instead of the current one.
    pub context: Option<String>,
    /// Time limit of one call; `None` for the default.
    pub call_limit: Option<Duration>,
    /// The user agent in the audit log of the API server.
    pub agent: &'static str,
}

impl Reach {
    /// The configuration that `kubectl` would use; without any kubeconfig, the service account of the pod.
    pub(crate) async fn config(&self) -> Result<Config, String> {
        let files = self.files();
        let Some((files, kubeconfig)) = self.read(&files)? else {
            return Config::incluster().map_err(|_| {
                let places: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
                format!(
                    "no cluster is configured: no kubeconfig found ({}), and this is not a pod of a cluster; name \
                     a kubeconfig with --kubeconfig or $KUBECONFIG",
                    places.join(", ")
                )
            });
        };
        self.check_context(&kubeconfig, &files)?;
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|e| format!("{files}: {}", chain(&e)))
    }

    /// The files to read, whether they exist or not.
    fn files(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.kubeconfig {
            return vec![path.clone()];
        }
        let listed: Vec<PathBuf> = std::env::var_os("KUBECONFIG")
            .map(|value| std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect())
            .unwrap_or_default();
        if listed.is_empty() {
            std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect()
        } else {
            listed
        }
    }

    /// All files merged; the first value wins. Like `kubectl`, this skips missing files, except a file that a flag
    /// names.
    /// `None` if no file exists.
    fn read(&self, files: &[PathBuf]) -> Result<Option<(String, Kubeconfig)>, String> {
        let mut whole: Option<(String, Kubeconfig)> = None;
        for path in files.iter().filter(|path| self.kubeconfig.is_some() || path.exists()) {
            let wrong = |e: &dyn std::error::Error| format!("{}: {}", path.display(), chain(e));
            let next = Kubeconfig::read_from(path).map_err(|e| wrong(&e))?;
            whole = Some(match whole {
                None => (path.display().to_string(), next),
                Some((names, before)) => {
                    let merged = before.merge(next).map_err(|e| wrong(&e))?;
                    (format!("{names}, {}", path.display()), merged)
                }
            });
        }
        Ok(whole)
    }

    fn check_context(&self, kubeconfig: &Kubeconfig, files: &str) -> Result<(), String> {
        let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
        let there_are = if known.is_empty() {
            "there are none".to_owned()
        } else {
            format!("there are: {}", known.join(", "))
        };
        let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
        match self.context.as_deref().or(current) {
            Some(name) if known.contains(&name) => Ok(()),
            Some(name) => Err(format!("context {name:?} does not exist in {files} ({there_are})")),
            None => Err(format!("{files} has no current context; choose one with --context ({there_are})")),
        }
    }
}

/// The configuration of the controller: `kubeconfig`; by default the service account of the pod, outside of a cluster
/// the environment.
pub(crate) async fn of_controller(kubeconfig: Option<&Path>) -> Result<Config, String> {
    let Some(path) = kubeconfig else {
        return Config::infer().await.map_err(|e| {
            format!(
                "neither a pod's service account nor a kubeconfig ($KUBECONFIG, ~/.kube/config) can be used; \
                 name one with --kubeconfig: {}",
                chain(&e)
            )
        });
    };
    let wrong = |e: &dyn std::error::Error| format!("{}: {}", path.display(), chain(e));
    let file = Kubeconfig::read_from(path).map_err(|e| wrong(&e))?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(|e| wrong(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(directory: &Path, name: &str, context: &str, current: bool) -> PathBuf {
        let path = directory.join(name);
        let current = if current { format!("current-context: {context}\n") } else { String::new() };
        let text = format!(
            "apiVersion: v1\nkind: Config\n{current}clusters: []\nusers: []\ncontexts:\n- name: {context}\n  context: \
             {{cluster: c, user: u}}\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn several_files_are_merged_and_missing_ones_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            file(directory.path(), "a", "first", false),
            directory.path().join("none"),
            file(directory.path(), "b", "second", true),
        ];
        let (names, whole) = Reach::default().read(&files).unwrap().unwrap();
        assert_eq!(whole.current_context.as_deref(), Some("second"));
        assert_eq!(whole.contexts.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        assert!(names.ends_with("/b") && names.contains("/a, ") && !names.contains("none"), "{names}");
    }

    #[test]
    fn a_missing_context_is_named_with_the_existing_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path(), "a", "first", false);
        let reach = |context: Option<&str>| {
            let reach = Reach { context: context.map(str::to_owned), ..Reach::default() };
            let (names, whole) = reach.read(std::slice::from_ref(&path)).unwrap().unwrap();
            reach.check_context(&whole, &names)
        };
        assert_eq!(reach(Some("first")), Ok(()));
        let error = reach(Some("prod")).unwrap_err();
        assert!(error.contains("context \"prod\" does not exist") && error.contains("first"), "{error}");
        assert!(reach(None).unwrap_err().contains("no current context"));
    }

    #[test]
    fn a_file_named_by_a_flag_has_to_exist() {
        let reach = Reach { kubeconfig: Some("/no/such/file".into()), ..Reach::default() };
        let error = reach.read(&reach.files()).unwrap_err();
        assert!(error.contains("/no/such/file") && error.contains("No such file"), "{error}");
    }
}
