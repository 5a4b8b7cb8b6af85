"""What the words and columns of a table mean, for a reader who has only the table."""

from resnet_jax.ablation import cost_table
from resnet_jax.ablation.power import POWER
from resnet_jax.ablation.table import Table

_TESTS = {
    "welch": "Welch's t interval and test; seeds are not paired",
    "sign_flip": "the sign-flip test of runs paired by seed, and the interval that belongs to it",
}


def notes(table: Table) -> tuple[str, ...]:
    """Sentences to print below the table."""
    declared = table.declaration
    confidence, error = f"{100 * (1 - declared.level):g}%", f"{100 * declared.level:g}%"
    lines = [
        "Every number is the test accuracy after the last epoch, of every finished run: no best epoch, "
        "no best seed. n: finished runs. Spread: standard deviation between seeds, in points. "
        f"{confidence} interval: of the mean (Student's t).",
    ]
    if cost_table.is_known(table):
        lines.append(cost_table.NOTE)
    if not table.comparisons:
        return (*lines, "No arm has a control, so nothing is compared.")
    count = len(table.comparisons)
    lines.append(
        f"Difference: arm minus control in points, with {_TESTS[declared.test]}. P(A>B): how often a run "
        "of the arm beats one of its control, ties counted half. Seeds' correlation: of runs with the same "
        "seed; near 0, pairing by seed gains nothing."
    )
    lines.append(
        f"Better, worse, equivalent: claims. With {count} {_plural(count)}, all claims of this table "
        f"together are wrong with a probability of at most {error}; the interval in a verdict is "
        "the wider one that this takes (with one comparison, the same). "
        f"Equivalent: the means differ by less than {declared.margin:g} points."
    )
    lines.append(
        f"Underpowered: no claim; n seeds an arm would find a difference of {declared.smallest:g} points "
        f"with a chance of {100 * POWER:g}%, at the spread seen and after the correction. "
        "It does not mean that there is no difference."
    )
    if any(arm.diverged for arm in table.arms):
        lines.append(
            "Diverged runs are in no mean, which flatters their arm: "
            "a claim that this would help is withheld."
        )
    if any(c.bca for c in table.comparisons):
        lines.append("BCa: the interval of the difference by bootstrap, from 15 seeds on.")
    if any(c.other_images for c in table.comparisons):
        lines.append(
            f"Other images: {confidence} interval of the difference for new seeds and new test images "
            "(bootstrap over both). Where it contains 0, the verdict is about these test images only."
        )
    return tuple(lines)


def _plural(count: int) -> str:
    return "comparison" if count == 1 else "comparisons"
