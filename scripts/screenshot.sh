#!/usr/bin/env bash
# Renders the status page with sample clones to docs/status-page.png, in headless Chromium (Debian's `chromium`).
#
#   scripts/screenshot.sh [FILE]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/messages.sh
. scripts/lib/messages.sh

help_if_asked "$@"
command -v chromium >/dev/null || die "chromium is missing; scripts/test.sh setup installs it"
DECANT_SCREENSHOT=$(realpath "${1:-docs/status-page.png}")
export DECANT_SCREENSHOT
cargo test --locked --quiet -p decant-controller --test status_page a_picture
echo "$DECANT_SCREENSHOT: $(stat -c %s "$DECANT_SCREENSHOT") bytes"
