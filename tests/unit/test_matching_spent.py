"""What withdrawn observations leave: counted for as long as it is kept, the same when read back."""

from exchange.domain.matching.matcher import Matcher
from exchange.domain.matching.observation import Role
from exchange.domain.matching.spent import FROM, LINK, TO, Spent, about, hypothesis, left_by
from tests.support.schemes import DAY, RULEBOOK, START, Leg, Town, account, paid_out, phone

BANK = ("bank", "c")
LINKS = RULEBOOK.matching.identity.neighbours


def test_a_transfer_leaves_its_pair_and_a_try_at_each_end() -> None:
    town, spent = Town(), Spent()
    seen = [town.make(BANK, paid_out("sham", name, at=2)) for name in ("a", "a", "b")]
    for each in seen:
        for key in left_by(each):
            spent.add(key, START + DAY)
    day = START // DAY
    assert all(hypothesis(each) in spent for each in seen)
    assert spent.tried(about(FROM, "c", seen[0].subject, day)) == 3
    assert spent.tried(about(TO, "c", account("a")[0], day)) == 2
    assert spent.tried(about(TO, "c", account("b")[0], day)) == 1
    assert spent.tried(about(TO, "another", account("a")[0], day)) == 0
    assert spent.tried(about(TO, "c", account("a")[0], day + 1)) == 0
    assert not spent.prune(START)
    assert spent.prune(START + DAY)
    assert not spent
    assert spent.tried(about(FROM, "c", seen[0].subject, day)) == 0


def test_a_link_leaves_a_try_at_each_end_once() -> None:
    town, spent = Town(), Spent()
    for _ in range(2):
        for key in left_by(town.make(BANK, Leg(Role.LINK, phone("a"), links=(account("a"),)))):
            spent.add(key, START)
    for one, other in ((phone("a")[0], account("a")[0]), (account("a")[0], phone("a")[0])):
        key = about(LINK, "c", one)
        assert spent.tried(key) == 1
        assert spent.has_tried(key, other)
        assert not spent.has_tried(key, one)


def test_links_taken_back_count_on_and_over_a_restart() -> None:
    town = Town()
    token = phone("a")[0]
    for number in range(LINKS):
        said = town.say(BANK, Leg(Role.LINK, phone("a"), links=(account(f"{number}"),)))
        town.withdraw(said)
    again = Leg(Role.LINK, phone("a"), links=(account("0"),))
    town.say(BANK, again)
    assert set(town.matcher.graph.claimed(token, "c")) == {token, account("0")[0]}
    town.say(BANK, again._replace(links=(account("new"),)))
    assert town.matcher.graph.claimed(token, "c") == [token]
    read_back = Matcher(RULEBOOK.matching, new_id=bytes)
    spent = [item for changes in town.changes for item in changes.spent.items()]
    kept = [town.matcher.graph.get(place) for place in range(1, 100)]
    read_back.restore([seen for seen in kept if seen is not None], spent, [], [])
    assert read_back.graph.claimed(token, "c") == [token]
