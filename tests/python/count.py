"""Adds to counters by client/python, while somebody kills servers.

    python count.py CLIENT_FOLDER META_ADDRESS ADDS COUNTERS

Prints `begun`, and at the end how many adds were done and of how many that is unknown; ends with 0 unless one failed.
"""

import sys

folder, address, adds, counters = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sys.path.insert(0, folder)

import holdfast  # noqa: E402
from counter import Counter  # noqa: E402

# The table of docs/client-protocol.md.
for key, value in [
    (b"", 0xF52A15E9A9B5E89B),
    (b"a", 0x02C0BDBF481420F8),
    (b"visits", 0x9D0440F72A4253A8),
    (b"\x00\xff", 0xA70BEE94C6C8447B),
    ("ä".encode(), 0xE60A42A18E381BCD),
]:
    assert holdfast.key_hash(key) == value, key

counter = Counter(holdfast.App.open([address], "counter.instance0", timeout=20.0))
try:
    counter.add("", 1)
    raise AssertionError("a counter without a name")
except holdfast.Rejected as rejected:
    assert rejected.code == 1, rejected.code

done = unknown = 0
for number in range(adds):
    try:
        counter.add(f"python{number % counters}", 1)
        done += 1
    except holdfast.Unknown:
        unknown += 1
    if number == 0:
        print("begun", flush=True)
print(done, unknown)
