# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pipelines that read a session from PipeWire."""

from __future__ import annotations

from support.pipeline import SINK
from support.pipewire import Daemon
from support.session import Session

QUEUE = "max-buffers=200"


def source(session: Session, caps: str = "", sink: str = "sink") -> str:
    """A pipeline that reads the session's own node."""
    return (f"pipewiresrc target-object=stepscope.{session.name} ! video/x-raw{caps} "
            f"! {SINK.replace('name=sink', 'name=' + sink)} {QUEUE}")


def source_of(node: str) -> str:
    """The same for a node by its name."""
    return f"pipewiresrc target-object={node} ! video/x-raw ! {SINK} {QUEUE}"


def offered(session: Session, daemon: Daemon) -> dict:
    """Properties of the session's node, once it is there."""
    return daemon.wait_for_node(f"stepscope.{session.name}")
