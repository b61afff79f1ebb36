#!/usr/bin/env bash
# The last step of `make run`: everything is built, now play the story (story.py). Its options can be given here.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 story/story.py "$@"
