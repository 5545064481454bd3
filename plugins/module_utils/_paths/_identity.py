# Copyright (c) bulkhead.mesh contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection: may change at any time.
"""Whose page an answer is. Pure.

A page is known by what its Service answered in the same run: status, content and place it redirects to, or else status and
title. Where two Services answer alike nobody can say whose page it is, and an error page is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.bulkhead.mesh.plugins.module_utils._paths._model import Answer, Page

ERROR = 400  # statuses from here on are the same everywhere
Key = tuple[str, str, int]


def _exact(answer: Answer) -> tuple[object, ...] | None:
    """By content; None where there is nothing that another page could not have."""
    if answer.outcome != "answered" or answer.status >= ERROR or not (answer.digest or answer.location):
        return None
    return answer.status, answer.digest, answer.location


def _titled(answer: Answer) -> tuple[object, ...] | None:
    """By title, for pages that are new each time."""
    if answer.outcome != "answered" or answer.status >= ERROR or not answer.title:
        return None
    return answer.status, answer.title


@dataclass
class Book:
    """What each Service was seen to answer."""

    exact: dict[tuple[object, ...], set[Key]] = field(default_factory=dict)
    titled: dict[tuple[object, ...], set[Key]] = field(default_factory=dict)
    contents: set[Page] = field(default_factory=set)  # pages whose text came back to somebody

    def add(self, page: Page, answer: Answer) -> None:
        """Remember what the Service of ``page`` answered."""
        for marks, mark in ((self.exact, _exact(answer)), (self.titled, _titled(answer))):
            if mark is not None:
                marks.setdefault(mark, set()).add(page.service_key)
        self.found(page, answer)

    def found(self, page: Page, answer: Answer) -> None:
        """Remember that somebody got the text that ``page`` is declared to have."""
        if page.content and answer.content:
            self.contents.add(page)

    def known(self, page: Page) -> bool:
        """Whether the page can be recognised."""
        if page.content:
            return page in self.contents
        return any(page.service_key in keys for marks in (self.exact, self.titled) for keys in marks.values())

    def whose(self, answer: Answer) -> set[Key]:
        """Services that answer like this."""
        return self._owners(_exact(answer)) or self._owners(_titled(answer))

    def is_page(self, answer: Answer, page: Page) -> bool | None:
        """Whether this is an answer of the page's Service; None where other Services answer the same."""
        if page.content:
            return answer.content
        owners = self.whose(answer)
        return False if page.service_key not in owners else True if len(owners) == 1 else None

    def stranger(self, answer: Answer, page: Page) -> bool:
        """Whether this is a page, no error, that nobody knows: perhaps the one in question in another guise."""
        if page.content or answer.outcome not in ("answered", "wrong_answer"):
            return False
        return answer.status < ERROR and not self.whose(answer)

    def others(self, answer: Answer, page: Page) -> list[str]:
        """Other Services that answer the same."""
        return sorted(f"{key[0]}/{key[1]}:{key[2]}" for key in self.whose(answer) - {page.service_key})

    def _owners(self, mark: tuple[object, ...] | None) -> set[Key]:
        owners: Mapping[tuple[object, ...], set[Key]] = {**self.titled, **self.exact}
        return owners.get(mark, set()) if mark is not None else set()
