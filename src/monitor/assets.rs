//! The console's own files. There is no other place from which its page loads anything.

pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) media_type: &'static str,
    pub(super) text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Under the folder of the page: it works behind a proxy that adds a prefix to the path.
pub(super) const ASSETS: &[Asset] = &[
    Asset { path: "/", media_type: HTML, text: include_str!("console/index.html") },
    Asset { path: "/app.css", media_type: CSS, text: include_str!("console/app.css") },
    Asset { path: "/icon.svg", media_type: SVG, text: include_str!("console/icon.svg") },
    Asset { path: "/app.js", media_type: SCRIPT, text: include_str!("console/app.js") },
    Asset { path: "/bridges.js", media_type: SCRIPT, text: include_str!("console/bridges.js") },
    Asset { path: "/certificates.js", media_type: SCRIPT, text: include_str!("console/certificates.js") },
    Asset { path: "/clusters.js", media_type: SCRIPT, text: include_str!("console/clusters.js") },
    Asset { path: "/dom.js", media_type: SCRIPT, text: include_str!("console/dom.js") },
    Asset { path: "/flow.js", media_type: SCRIPT, text: include_str!("console/flow.js") },
    Asset { path: "/format.js", media_type: SCRIPT, text: include_str!("console/format.js") },
    Asset { path: "/incidents.js", media_type: SCRIPT, text: include_str!("console/incidents.js") },
    Asset { path: "/live.js", media_type: SCRIPT, text: include_str!("console/live.js") },
    Asset { path: "/partitions.js", media_type: SCRIPT, text: include_str!("console/partitions.js") },
    Asset { path: "/readers.js", media_type: SCRIPT, text: include_str!("console/readers.js") },
    Asset { path: "/records.js", media_type: SCRIPT, text: include_str!("console/records.js") },
];

pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|it| it.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With one of these in it a page would not do under its own security policy, or a record could become part of it.
    #[test]
    fn nothing_is_inline_foreign_or_written_as_html() {
        for asset in ASSETS {
            let forbidden: &[&str] = match asset.media_type {
                HTML => &["<style", "style=", "onclick", "onload", "http:", "https:", "=\"/", "javascript:"],
                CSS => &["@import", "http:", "https:", "url("],
                SCRIPT => &[
                    "innerHTML",
                    "outerHTML",
                    "insertAdjacentHTML",
                    "document.write",
                    "eval(",
                    "new Function",
                    "https:",
                ],
                _ => &["<script"],
            };
            for it in forbidden {
                assert!(!asset.text.contains(it), "{} holds {it}", asset.path);
            }
        }
        let page = ASSETS[0].text;
        assert_eq!(page.matches("<script").count(), page.matches("<script type=\"module\" src=").count());
    }

    #[test]
    fn every_module_that_is_imported_is_served() {
        for asset in ASSETS.iter().filter(|it| it.media_type == SCRIPT) {
            for import in asset.text.split(" from \"./").skip(1).filter_map(|it| it.split('"').next()) {
                assert!(find(&format!("/{import}")).is_some(), "{} imports {import}", asset.path);
            }
        }
    }
}
