//! Lists in pages. Only one page is in memory at a time, and large objects make pages shorter instead of failing.

use crate::api::cluster::{ApiError, Cluster, ListParams};
use crate::objects::{Kind, Object};

/// Objects in one page. Usual objects need some hundred kilobytes. A page of the largest possible objects exceeds the
/// length limit of a response; it is requested again with half as many.
pub const PAGE_OBJECTS: u32 = 50;
/// After a page shorter than this, the next one has twice as many objects: it will be far below the length limit of a
/// response.
const SHORT_PAGE_BYTES: usize = 1 << 20;

/// Passes all objects of `kind` that `params` selects to `take`; returns the version from which to watch.
/// `params.limit` is the maximum number of objects in a page, [`PAGE_OBJECTS`] if it is 0.
pub fn list(
    cluster: &dyn Cluster,
    kind: Kind,
    params: &ListParams,
    mut take: impl FnMut(Object),
) -> Result<String, ApiError> {
    let most = if params.limit == 0 { PAGE_OBJECTS } else { params.limit };
    let mut params = ListParams { limit: most, ..params.clone() };
    loop {
        let page = match cluster.list(kind, &params) {
            Err(e) if e.is_too_long() && params.limit > 1 => {
                params.limit /= 2;
                continue;
            }
            page => page?,
        };
        let bytes: usize = page.items.iter().map(|item| item.text().len()).sum();
        page.items.into_iter().for_each(&mut take);
        if page.next.is_empty() {
            return Ok(page.resource_version);
        }
        params.next = page.next;
        if bytes < SHORT_PAGE_BYTES {
            params.limit = params.limit.saturating_mul(2).min(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::cluster::{ListPage, TOO_LONG, not_expected};

    /// Objects of these sizes; a response beyond `limit_bytes` is too long.
    struct Shelf {
        sizes: Vec<usize>,
        limit_bytes: usize,
        asked: Mutex<Vec<u32>>,
    }

    impl Cluster for Shelf {
        fn list(&self, _: Kind, params: &ListParams) -> Result<ListPage, ApiError> {
            self.asked.lock().unwrap().push(params.limit);
            let from: usize = params.next.parse().unwrap_or(0);
            let to = (from + usize::try_from(params.limit).unwrap()).min(self.sizes.len());
            if self.sizes[from..to].iter().sum::<usize>() > self.limit_bytes {
                return Err(ApiError { code: 0, reason: TOO_LONG.to_owned(), message: String::new() });
            }
            let items = (from..to).map(|n| Object::from(json!({ "n": n, "x": "x".repeat(self.sizes[n]) })));
            let next = if to < self.sizes.len() { to.to_string() } else { String::new() };
            Ok(ListPage { items: items.collect(), resource_version: "7".to_owned(), next })
        }

        not_expected!(get, watch, create, patch, replace, delete, pod_proxy);
    }

    fn listed(shelf: &Shelf) -> Result<Vec<Value>, ApiError> {
        let mut found = Vec::new();
        let version = list(shelf, Kind::DataVolume, &ListParams::default(), |object| {
            found.push(object.value()["n"].clone());
        })?;
        assert_eq!(version, "7");
        Ok(found)
    }

    #[test]
    fn a_page_that_is_too_long_is_requested_again_with_half_as_many() {
        let shelf = Shelf { sizes: vec![1000; 120], limit_bytes: 8000, asked: Mutex::default() };
        assert_eq!(listed(&shelf).unwrap(), (0..120).map(Value::from).collect::<Vec<_>>());
        assert_eq!(shelf.asked.lock().unwrap()[..4], [50, 25, 12, 6]);
    }

    #[test]
    fn pages_grow_again_after_a_few_large_objects() {
        let large = 3 << 20;
        let sizes = std::iter::repeat_n(large, 4).chain(std::iter::repeat_n(100, 200)).collect();
        let shelf = Shelf { sizes, limit_bytes: 4 << 20, asked: Mutex::default() };
        assert_eq!(listed(&shelf).unwrap().len(), 204);
        assert_eq!(shelf.asked.lock().unwrap().last(), Some(&PAGE_OBJECTS));
    }

    #[test]
    fn one_object_that_is_too_long_is_an_error() {
        let shelf = Shelf { sizes: vec![10], limit_bytes: 5, asked: Mutex::default() };
        assert!(listed(&shelf).unwrap_err().is_too_long());
    }
}
