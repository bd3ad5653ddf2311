#!/usr/bin/env bash
# Records picture and sound of a running session that PipeWire pushes, until Ctrl-C or for some
# seconds. The session must have been started with: stepscope --pipewire -- COMMAND
set -euo pipefail

if (($# < 2 || $# > 3)); then
    echo "usage: ${0##*/} SESSION FILE.mkv [SECONDS]" >&2
    exit 2
fi
session=$1 file=$2 seconds=${3:-}

recorder=(gst-launch-1.0 -e -q matroskamux name=mux ! filesink "location=$file"
    pipewiresrc "target-object=stepscope.$session" ! video/x-raw ! queue ! videoconvert !
    x264enc tune=zerolatency ! queue ! mux.
    pipewiresrc "target-object=stepscope.$session.sound"
    "stream-properties=props,stream.capture.sink=true" ! audio/x-raw,rate=48000 ! queue !
    audioconvert ! opusenc ! queue ! mux.)
if [[ -z $seconds ]]; then
    exec "${recorder[@]}"
fi
# Ctrl-C in its name ends the file properly; that it was asked to end is no failure.
timeout --preserve-status --signal=INT --kill-after=20 "$seconds" "${recorder[@]}"
