from __future__ import annotations

from livekit.agents import llm

from voice_agent.llm.memory.window import ContextWindow, tokens_of


def grow(ctx: llm.ChatContext, turn: int) -> None:
    ctx.add_message(role="user", content=f"Question {turn}: " + "what about it " * 4)
    ctx.add_message(role="assistant", content=f"Answer {turn}: " + "it is like this " * 5)


def conversation(turns: int) -> llm.ChatContext:
    ctx = llm.ChatContext.empty()
    ctx.add_message(role="system", content="Be brief.")
    for turn in range(turns):
        grow(ctx, turn)
    return ctx


def test_a_short_conversation_is_sent_as_it_is() -> None:
    ctx, window = conversation(3), ContextWindow(6000)
    assert window.view(ctx) is ctx
    assert window.drops == 0


def test_200_turns_keep_an_equal_beginning_for_long_and_stay_below_the_limit() -> None:
    ctx, window = conversation(0), ContextWindow(1000)
    sent: list[list[str]] = []
    for turn in range(200):
        grow(ctx, turn)
        view = window.view(ctx)
        assert sum(map(tokens_of, view.items)) <= 1000
        assert view.items[0].id == ctx.items[0].id
        assert view.items[-1].id == ctx.items[-1].id
        sent.append([item.id for item in view.items])
    equal = [sent[at][: len(sent[at - 1])] == sent[at - 1] for at in range(1, len(sent))]
    assert equal.count(False) == window.drops
    assert 10 < window.drops < 30  # a sliding window would have dropped in about 185 of them
    assert len(ctx.items) == 401


def test_the_same_request_twice_is_the_same() -> None:
    ctx, window = conversation(40), ContextWindow(500)
    assert [i.id for i in window.view(ctx).items] == [i.id for i in window.view(ctx).items]
    assert window.drops == 1


def test_a_tools_call_and_its_result_are_not_parted() -> None:
    ctx, window = conversation(4), ContextWindow(400)
    for turn in range(30):
        ctx.add_message(role="user", content=f"Weather {turn}? " + "please " * 10)
        ctx.items.append(llm.FunctionCall(call_id=f"c{turn}", name="weather", arguments='{"city": "Bonn"}'))
        ctx.items.append(llm.FunctionCallOutput(call_id=f"c{turn}", name="weather", output="sun", is_error=False))
        ctx.add_message(role="assistant", content="Sun. " * 10)
        items = window.view(ctx).items
        assert items[1].type == "message"
        assert items[1].role == "user"
        calls = {item.call_id for item in items if item.type == "function_call"}
        assert calls == {item.call_id for item in items if item.type == "function_call_output"}
    assert window.drops


def test_one_huge_question_is_sent_all_the_same() -> None:
    ctx, window = conversation(2), ContextWindow(200)
    ctx.add_message(role="user", content="word " * 2000)
    items = window.view(ctx).items
    assert [item.type for item in items] == ["message", "message"]
    assert items[-1].id == ctx.items[-1].id


def test_dropping_ahead_of_the_turn_that_would_have_to() -> None:
    ctx, window = conversation(0), ContextWindow(1000)
    assert window.due(ctx) == []
    for turn in range(100):
        grow(ctx, turn)
        if old := window.due(ctx):
            break
    assert window.view(ctx) is ctx  # it would still fit
    view = window.replace(ctx, old)
    assert [i.id for i in view.items] == [ctx.items[0].id, *(i.id for i in ctx.items[1 + len(old) :])]
    ctx.add_message(role="user", content="And now?")
    assert [i.id for i in window.view(ctx).items[:-1]] == [i.id for i in view.items]
    assert window.drops == 1


def test_a_summary_stands_within_the_instructions_and_counts() -> None:
    ctx, window = conversation(16), ContextWindow(1000)
    while not (old := window.due(ctx)):
        grow(ctx, len(ctx.items))
    view = window.replace(ctx, old, "The user is called Ann.")
    first = view.items[0]
    assert first.type == "message"
    assert (first.id, first.role) == (ctx.items[0].id, "system")
    assert (first.text_content or "").startswith("Be brief.\n\n")
    assert (first.text_content or "").endswith("The user is called Ann.")
    assert [item.type for item in view.items].count("message") == len(view.items)
    own = ctx.items[0]
    assert own.type == "message"
    assert own.text_content == "Be brief."  # the session's is untouched
    again = window.replace(ctx, old).items[0]
    assert again.type == "message"
    assert again.text_content == first.text_content  # dropped already: it still stands
    window.summary = "word " * 800
    assert len(window.view(ctx).items) < len(view.items)


def test_another_conversation_has_no_summary_of_this_one() -> None:
    ctx, window = conversation(40), ContextWindow(1000)
    window.replace(ctx, window.due(ctx), "The user is called Ann.")
    other = conversation(2)
    assert window.view(other) is other
    assert window.said_before(ctx)
    assert not window.said_before(other)
    for turn in range(40):
        grow(other, turn)
        first = window.view(other).items[0]
    assert window.drops > 1
    assert first.type == "message"
    assert first.text_content == "Be brief."


def test_without_instructions_the_summary_is_the_beginning() -> None:
    ctx, window = conversation(40), ContextWindow(1000)
    ctx.items.pop(0)
    view = window.replace(ctx, window.due(ctx), "Ann.")
    assert [item.role for item in view.items[:2] if item.type == "message"] == ["system", "user"]
