"""What can be counted in a text, by the standard library: the web workers import this module too."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from exec_worker import InvalidRequest, node

WORDS_A_MINUTE = 230


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A text in English, and how many of its words to list."""

    text: str
    top: int = 5


@dataclass(frozen=True, slots=True)
class WordCount:
    """How often a word occurs."""

    word: str
    times: int


@dataclass(frozen=True, slots=True)
class Report:
    """Figures about a text. `reading_ease` is Flesch's: about 100 for children, below 30 for lawyers."""

    words: int
    different_words: int
    sentences: int
    minutes: float
    reading_ease: float
    most_frequent: list[WordCount]
    longest_word: str


@node(stage="core", idempotent=True)
def render(asked: ReportRequest) -> Report:
    """Count words, sentences and syllables, and say how hard a text is to read."""
    words = [
        word.lower() for word in re.findall(r"[^\W\d_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W\d_]+)?", asked.text)
    ]
    if not words:
        raise InvalidRequest("there is no word in this text")
    counts = Counter(words)
    sentences = max(1, len(re.findall(r"[.!?\N{HORIZONTAL ELLIPSIS}]+(?=\s|$)", asked.text)))
    syllables = sum(times * _syllables(word) for word, times in counts.items())
    return Report(
        words=len(words),
        different_words=len(counts),
        sentences=sentences,
        minutes=round(len(words) / WORDS_A_MINUTE, 1),
        reading_ease=round(206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words), 1),
        most_frequent=[WordCount(word, times) for word, times in counts.most_common(max(0, asked.top))],
        longest_word=max(counts, key=len),
    )


def _syllables(word: str) -> int:
    """Groups of vowels, without a silent e at the end: wrong now and then, right on average."""
    return max(1, len(re.findall(r"[aeiouy]+", word)) - (word.endswith("e") and not word.endswith("le")))
