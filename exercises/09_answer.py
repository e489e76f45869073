# %% [markdown]
# # Exercises to chapter 9: from measurements to verdicts
#
# Read [chapter 9](../09_answer.ipynb) first; what these exercises need of it is defined anew below, so that this
# notebook runs by itself. Nothing is trained. For each, write the functions asked for, run their cell, and run the
# check below it, whose code is hidden: it says *right*, or in one sentence what is not yet right. What is asked *in
# words* nobody checks but your teacher or you.

# %% tags=["parameters"]
profile = "quick"  # "quick" (minutes) or "full" (hours): whose report is read
dataset = "auto"  # "auto", "mnist", "fashion-mnist", "kmnist", "mnist-5000" or "uci-digits"
device = "auto"  # "auto", "cpu", "cuda" or "mps"

# %%
import math

import numpy as np
from scipy import stats

from mnist_ae_utils import checks, results
from mnist_ae_utils.chapter import begin, kept_folder

chapter = begin("09_exercises", profile, dataset, device=device)

# %% [markdown]
# `contrasts` holds paired differences, one a seed, by what is compared: the primary contrasts of your own report with
# these parameters, else those of the report that comes with the course. Where there is none either, it is four lists
# of numbers that are *made up*: no network has to do with them. Checks show what your function says of them; what it
# has to be right about, other numbers decide.

# %%
made_up = {  # differences of accuracy
    "a large difference": [0.031, 0.027, 0.035, 0.029, 0.033, 0.026, 0.030, 0.034],
    "a small one": [0.0011, 0.0008, 0.0013, 0.0007, 0.0012, 0.0009, 0.0010, 0.0006],
    "one that is lost in the noise": [0.004, -0.003, 0.006, 0.001, -0.002, 0.005, 0.003, -0.001],
    "one against the claim": [-0.012, -0.015, -0.009, -0.013, -0.011, -0.014, -0.010, -0.016],
}
folders = chapter.results.out, kept_folder(chapter.data.name), kept_folder("mnist")
made_with, entries = next(filter(None, map(results.report, folders)), (None, []))
primary = [e for e in entries if e.get("primary") and None not in e["per_seed"] and len(e["per_seed"]) > 1]
at = [f" ({e['n_labels']:,} labels)" if e["n_labels"] else "" for e in primary]
contrasts = {f"{e['primary']}: {e['claim']}{n}": e["per_seed"] for e, n in zip(primary, at, strict=True)} or made_up
if primary:
    print(f"{len(contrasts)} primary contrasts of a report: profile {made_with['profile']}, {made_with['dataset']}")
else:
    print("There is no report by today's rules: these contrasts are made up.")
for name, differences in contrasts.items():
    print(f"  {name}: {np.mean(differences):+.3g}, {len(differences)} seeds")

# %% [markdown]
# ## 9.1 What two seeds can say
#
# *compute, 15 min, medium*
#
# Two seeds gave the differences $a$ and $b$. With two values, Student's t has one degree of freedom: it is the Cauchy
# distribution, whose distribution function is $1/2 + \arctan(t) / \pi$. So no table is needed. Find by pencil:
#
# - how far the 95% interval reaches to each side of the mean, as a multiple of $|a - b|$;
# - how often the interval *mean ± 1.96 standard errors* of two seeds covers the true mean. (The standard error is the
#   standard deviation, with $n - 1$ in its denominator, over $\sqrt n$.)


# %% tags=["answer"]
def half_width(a, b):
    """Half the width of the 95% t interval of two values: a number. Without a routine for quantiles."""
    ### BEGIN SOLUTION
    return math.tan(0.475 * math.pi) * abs(a - b) / 2
    ### END SOLUTION


def covers():
    """How often mean ± 1.96 standard errors of two values covers the true mean: a number from 0 to 1."""
    ### BEGIN SOLUTION
    return 2 * math.atan(1.96) / math.pi
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("9.1", half_width, covers):
    for a, b in ((1.0, 3.0), (0.4, -0.2)):
        _, (low, high) = results.confidence_interval([a, b])
        gap = abs(a - b)
        checks.close(
            checks.number(half_width(a, b), f"half_width({a}, {b})", 0), (high - low) / 2,
            "The interval reaches t times the standard error to each side. What is the standard error of two values?",
            {"1.96 is the normal distribution's quantile, for very many seeds. With two it is Student's.":
                 1.96 * gap / 2,
             "At its quantile of 95%, 5% lie above it and 5% below its opposite. Together they should be 5%.":
                 math.tan(0.45 * math.pi) * gap / 2,
             "That is t times the standard *deviation*. The mean of two values scatters less.": (high - low) / 2**0.5,
             "That is the whole width. Half of it is asked for.": high - low,
             "It is too small by a root of two: has the standard deviation n in its denominator where n - 1 is meant, "
             "or is it divided by n instead of its root?":
                 (high - low) / 2**1.5},
        )  # fmt: skip
    pairs = np.random.default_rng(0).normal(size=(400_000, 2))
    inside = np.abs(pairs.mean(1)) <= 1.96 * pairs.std(axis=1, ddof=1) / 2**0.5
    checks.close(
        checks.number(covers(), "covers()", 0, 1), inside.mean(), "Two values do not cover their mean so often.",
        {"So often it covers with very many seeds. With two, the standard deviation is itself a matter of luck.": 0.95,
         "So often the true mean lies between the two. The interval reaches further than they do.": 0.5,
         "So often t lies below 1.96: on the other side there is a limit, too.": (1 + inside.mean()) / 2,
         "So often it misses the true mean.": 1 - inside.mean()},
        relative=0, absolute=4e-3,
    )  # fmt: skip
    print(f"By 1.96 standard errors, two seeds cover the true mean in {inside.mean():.0%} of cases.")


# %% tags=["also-right"]
def half_width(a, b):
    standard_error = math.sqrt(((a - (a + b) / 2) ** 2 + (b - (a + b) / 2) ** 2) / 1) / math.sqrt(2)
    return standard_error / math.tan(0.025 * math.pi)


def covers():  # the density of the Cauchy distribution, summed from -1.96 to 1.96
    middles = (np.arange(10_000) + 0.5) / 10_000 * 3.92 - 1.96
    return float((1 / (math.pi * (1 + middles**2))).sum() * 3.92 / 10_000)


# %% tags=["wrong"]
def half_width(a, b):  # normal
    return 1.96 * abs(a - b) / 2


# %% tags=["wrong"]
def half_width(a, b):  # the standard deviation, not that of the mean
    return math.tan(0.475 * math.pi) * abs(a - b) / math.sqrt(2)


# %% tags=["wrong"]
def half_width(a, b):  # the one-sided quantile
    return math.tan(0.45 * math.pi) * abs(a - b) / 2


# %% tags=["wrong"]
def covers():
    return 0.95


# %% [markdown] tags=["in-words"]
# The standard deviation is |a - b| / √2 and the standard error |a - b| / 2. The quantile t has 1/2 + arctan(t)/π =
# 0.975, so t = tan(0.475 π), more than six times 1.96: an interval of two seeds is wide because it has to pay for a
# standard deviation that is known from one difference. Whoever uses 1.96 covers in (2/π) arctan(1.96) of the cases.

# %% [markdown]
# ## 9.2 One more seed
#
# *predict, 15 min, medium*
#
# Somebody has no difference to find: the true mean is 0. They run three seeds and test. If *p* is below 0.05 they
# stop and report it; else they run one more seed and test again, and so on, up to twenty seeds. How often do they
# report a difference in the end? Say so first; then write what they do.


# %% tags=["answer"]
def predicted():
    """How often a difference is reported: "5% or less", "5 to 10%", "10 to 20%" or "more than 20%"."""
    ### BEGIN SOLUTION
    return "more than 20%"
    ### END SOLUTION


def seeds_when_stopped(differences):
    """After how many seeds, 3 at least, they stop and report; None if they never do.

    `differences` is an array (20,), one a seed, in the order in which they are run. `results.p_value` is the test.
    """
    ### BEGIN SOLUTION
    for n in range(3, len(differences) + 1):
        if results.p_value(differences[:n]) < 0.05:
            return n
    return None
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("9.2", predicted, seeds_when_stopped):
    checks.option(predicted(), ("5% or less", "5 to 10%", "10 to 20%", "more than 20%"))
    drawn = np.random.default_rng(0).normal(size=(20_000, 20))
    n = np.arange(3, 21)
    sums, squares = drawn.cumsum(1)[:, 2:], (drawn**2).cumsum(1)[:, 2:]
    p = 2 * stats.t.sf(np.abs(sums) / np.sqrt(n * (squares - sums**2 / n) / (n - 1)), n - 1)
    reported = (p < 0.05).any(1)
    stops = [int(row.argmax()) + 3 if any_of else None for row, any_of in zip(p < 0.05, reported, strict=True)]
    for row, right in zip(drawn[:60], stops[:60], strict=True):
        found = seeds_when_stopped(row)
        checks.require(found is None or 3 <= found <= 20, f"It returned {found}: return a number of seeds, or None.")
        if found is None and right is not None:
            hint = f"Here it never stops, though p is below 0.05 after {right} seeds."
        elif right is None:
            hint = f"Here it stops after {found} seeds, though p is never below 0.05 of the first 3, 4, ..., 20."
        else:
            hint = f"Here it stops after {found} seeds. They stop at the first chance, after {right}."
        checks.require(found == right, hint)
    rate = reported.mean()
    limits = {0.05: "5% or less", 0.1: "5 to 10%", 0.2: "10 to 20%", 1.0: "more than 20%"}
    it = next(text for limit, text in limits.items() if rate <= limit)
    print(f"A difference that is not there is reported in {rate:.0%} of cases; you said {predicted()}, it is {it}.")
    print(f"With twenty seeds planned and one test: {(p[:, -1] < 0.05).mean():.0%}.")


# %% tags=["also-right"]
def predicted():
    return "5% or less"


def seeds_when_stopped(differences):
    tested = {n: stats.ttest_1samp(differences[:n], 0.0).pvalue for n in range(3, 21)}
    return min((n for n, p in tested.items() if p < 0.05), default=None)


# %% tags=["wrong"]
def seeds_when_stopped(differences):  # one test, at the end
    return 20 if results.p_value(differences) < 0.05 else None


# %% tags=["wrong"]
def seeds_when_stopped(differences):  # each time the seeds of the last three only
    for n in range(3, 21):
        if results.p_value(differences[n - 3 : n]) < 0.05:
            return n
    return None


# %% tags=["wrong"]
def seeds_when_stopped(differences):  # how many more were run
    for n in range(3, 21):
        if results.p_value(differences[:n]) < 0.05:
            return n - 3
    return None


# %% tags=["wrong"]
def predicted():
    return 0.05


# %% [markdown] tags=["in-words"]
# Each test has its one chance in twenty, and eighteen tests are made. They are not independent, so it is less than
# eighteen times as much, but several times. That is why the rules say *before* how many seeds there will be. To
# change a threshold, a margin or a measure after its number is known is the same thing: one more try. If a rule has
# to change, fresh seeds have to decide it.

# %% [markdown]
# ## 9.3 Holm by hand
#
# *compute, 5 min, easy*
#
# Four contrasts have the p-values 0.03, 0.01, 0.04 and 0.02, in this order. Correct them by Holm's method, by hand.
# How many of them are below 0.05 before, and how many after?


# %% tags=["answer"]
def corrected():
    """The four corrected p-values, a list in the order of the contrasts."""
    ### BEGIN SOLUTION
    return [0.06, 0.04, 0.06, 0.06]
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("9.3", corrected):
    p = np.array([0.03, 0.01, 0.04, 0.02])
    found = corrected()
    checks.several(found, 4, "Return a list of four numbers.")
    found = [checks.number(value, "A corrected p-value", 0, 1) for value in found]
    ranks = p.argsort().argsort()
    checks.close(
        found, results.holm(p), "Begin with the smallest. By how many is it multiplied, and by how many the next?",
        {"Each is multiplied by 4: that is Bonferroni's method. Holm's asks less of all but the smallest.": 4 * p,
         "A larger p-value has become smaller than one below it: each is at least the one before.": p * (4 - ranks),
         "The numbers are right, but in another order: the contrasts' own is asked for.": np.sort(results.holm(p)),
         "The *smallest* is multiplied by 4, the largest by 1.": p * (ranks + 1),
         "Holm's correction makes p-values larger: these are the ones given.": p},
        absolute=1e-9,
    )  # fmt: skip
    tested = np.array([results.p_value(differences) for differences in contrasts.values()])
    before, after = ((values < 0.05).sum() for values in (tested, results.holm(tested)))
    print(f"Of the {len(contrasts)} contrasts, tested against 0, {before} are below 0.05, and {after} when corrected.")


# %% tags=["also-right"]
def corrected():
    p, largest, found = [0.03, 0.01, 0.04, 0.02], 0.0, [0.0] * 4
    for times, index in zip((4, 3, 2, 1), (1, 3, 0, 2), strict=True):
        largest = max(largest, times * p[index])
        found[index] = largest
    return found


# %% tags=["wrong"]
def corrected():  # Bonferroni
    return [0.12, 0.04, 0.16, 0.08]


# %% tags=["wrong"]
def corrected():  # without the largest so far
    return [0.06, 0.04, 0.04, 0.06]


# %% tags=["wrong"]
def corrected():  # sorted
    return [0.04, 0.06, 0.06, 0.06]


# %% [markdown] tags=["in-words"]
# Sorted they are 0.01, 0.02, 0.03, 0.04; times 4, 3, 2, 1 that is 0.04, 0.06, 0.06, 0.04, and as each is at least the
# one before, the last is 0.06. All four were below 0.05, and one still is.

# %% [markdown]
# ## 9.4 The margin that would do
#
# *change, 15 min, medium*
#
# "No difference that matters" needs a margin: the smallest difference that matters. The rules name it; it is a
# choice. Turn the question round. For given differences, what is the *smallest* margin at which the two one-sided
# tests (`results.p_equal`, below 0.05, without Holm's correction) say so? Then look at your contrasts: which margin
# would you defend to someone who uses the classifier?


# %% tags=["answer"]
def smallest_margin(differences):
    """The smallest margin at which the differences, one a seed, are "no difference that matters": a positive number."""
    ### BEGIN SOLUTION
    _, (low, high) = results.confidence_interval(differences, level=0.90)
    return max(-low, high)
    ### END SOLUTION


# %% tags=["check"]
from scipy.optimize import brentq

with checks.exercise("9.4", smallest_margin):
    random = np.random.default_rng(0)
    for mean, n in ((0.3, 8), (-0.3, 5), (0.0, 20)):
        differences = random.normal(mean, 1, n)
        found = checks.number(smallest_margin(differences), "smallest_margin(differences)", 0)
        center, (low, high) = results.confidence_interval(differences)
        just = brentq(lambda margin, of=differences: results.p_equal(of, margin) - 0.05, 0, 10)
        at = results.p_equal(differences, found)
        checks.close(
            found, just, f"At your margin the larger of the two p-values is {at:.3f}. At the smallest that does, it is "
            "just 0.05.",
            {"That is the farther end of the 95% interval. It leaves 2.5% at each side, but each of the two tests is "
             "one-sided, at 5%.": max(-low, high),
             "The mean lies within your margin. That does not show that the true mean does: how far may it be away?":
                 abs(center)},
        )  # fmt: skip
    for name, differences in contrasts.items():
        found = checks.number(smallest_margin(np.array(differences)), "smallest_margin(differences)", 0)
        print(f"{name}: mean {np.mean(differences):+.3g}, smallest margin {found:.3g}")


# %% tags=["also-right"]
def smallest_margin(differences):  # tries margins: p falls as they grow
    low, high = 0.0, 10 * (abs(np.mean(differences)) + np.ptp(differences))
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if results.p_equal(differences, middle) < 0.05 else (middle, high)
    return np.array([high])


# %% tags=["wrong"]
def smallest_margin(differences):  # the 95% interval
    _, (low, high) = results.confidence_interval(differences)
    return max(-low, high)


# %% tags=["wrong"]
def smallest_margin(differences):  # the mean only
    return abs(float(np.mean(differences)))


# %% tags=["wrong"]
def smallest_margin(differences):  # the nearer end
    _, (low, high) = results.confidence_interval(differences, level=0.90)
    return max(0.0, min(-low, high))


# %% tags=["wrong"]
def smallest_margin(differences):  # the half width, wherever the mean is
    mean, (low, high) = results.confidence_interval(differences, level=0.90)
    return (high - low) / 2


# %% [markdown] tags=["in-words"]
# Each of the two tests asks whether the mean is beyond one end of the margin, at 5%, and both have to say no: so all
# of the 90% interval has to lie within the margin, and its farther end is the smallest that does. A margin should
# come from the use (how many more errors would make you choose otherwise?), and before its number is known: with a
# generous one, nothing ever matters.

# %% [markdown]
# ## 9.5 How many seeds would decide it?
#
# *compute, 15 min, medium*
#
# An undecided contrast: in units of their standard deviation, the differences have the mean $d$. With $n$ seeds, the
# mean over its standard error scatters like a normal variable with spread 1 around $d \sqrt n$ (that Student's t is a
# little wider, forget for now). The contrast is decided where it exceeds the two-sided threshold of 5%. With how many
# seeds does that happen in 90 of 100 cases? Find the formula by pencil.


# %% tags=["answer"]
def seeds(d, level=0.05, power=0.9):
    """How many seeds decide it with this power in a two-sided test at this level: a number, not rounded; d > 0.

    `stats.norm.ppf` gives the normal distribution's quantiles. That the test errs on the other side may be neglected.
    """
    ### BEGIN SOLUTION
    return ((stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)) / d) ** 2
    ### END SOLUTION


# %% tags=["check"]
from scipy.optimize import brentq

with checks.exercise("9.5", seeds):
    for d, level, power in ((1.0, 0.05, 0.9), (0.4, 0.05, 0.9), (0.4, 0.05 / 13, 0.8)):
        found = checks.number(seeds(d, level, power), f"seeds({d}, {level:.4f}, {power})", 0)

        def lacks(n, level, d=d, power=power):  # power, with n seeds; the level counts one side
            return power - stats.norm.sf(stats.norm.isf(level) - d * math.sqrt(n))

        needed, one_sided = (brentq(lacks, 0, 1e4, args=(at,)) for at in (level / 2, level))
        case = f"For d = {d}, level {level:.4f} and power {power}"
        decided = power - lacks(found, level / 2)
        checks.close(
            found, needed, f"{case} your {found:.1f} seeds decide it in {decided:.1%} of cases.",
            {f"{case} your number puts the mean right at the threshold: half of all cases lie below it.":
                 (stats.norm.isf(level / 2) / d) ** 2,
             f"{case} your threshold is that of a one-sided test.": one_sided,
             f"{case} {found:.1f} is the root of n: the mean in standard errors grows with it.": needed**0.5},
        )  # fmt: skip
    for name, differences in contrasts.items():
        if results.p_value(differences) > 0.05 and np.mean(differences):
            effect, exact = abs(np.mean(differences)) / np.std(differences, ddof=1), results.seeds_needed(differences)
            exact, found = exact or "a thousand or more", checks.number(seeds(effect), "seeds(d)", 0)
            print(f"{name}, against 0: d = {effect:.2f}, {found:,.0f} seeds; by Student's t {exact}")


# %% tags=["also-right"]
def seeds(d, level=0.05, power=0.9):  # by bisection
    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        enough = stats.norm.cdf(d * math.sqrt(middle) - stats.norm.isf(level / 2)) > power
        low, high = (low, middle) if enough else (middle, high)
    return np.array([high])


# %% tags=["wrong"]
def seeds(d, level=0.05, power=0.9):  # just significant
    return (stats.norm.ppf(1 - level / 2) / d) ** 2


# %% tags=["wrong"]
def seeds(d, level=0.05, power=0.9):  # one-sided
    return ((stats.norm.ppf(1 - level) + stats.norm.ppf(power)) / d) ** 2


# %% tags=["wrong"]
def seeds(d, level=0.05, power=0.9):  # without the square
    return (stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)) / d


# %% [markdown] tags=["in-words"]
# The threshold is z(1 - level/2). In 90 of 100 cases the value lies above d √n - z(0.9). Both are equal at n = ((z(1
# - level/2) + z(power)) / d)². Half the effect takes four times the seeds. And d was measured on few seeds: a
# contrast that chance has made large looks as if fewer would do.

# %% [markdown]
# ## 9.6 None has failed
#
# *compute, 10 min, easy*
#
# A method was run with $n$ seeds, and none of them failed. It may still fail at times. Which failure rate would have
# given a result as lucky as this in 5 of 100 cases only? Higher ones are then excluded with 95% confidence. Find the
# formula by pencil, and turn it round: how many seeds without a failure does it take to exclude a given rate?


# %% tags=["answer"]
def highest_rate(n):
    """The failure rate, from 0 to 1, at which n seeds go without a failure in 5 of 100 cases."""
    ### BEGIN SOLUTION
    return 1 - 0.05 ** (1 / n)
    ### END SOLUTION


def seeds_to_exclude(rate):
    """The smallest number of seeds without a failure, an integer, that puts the highest rate at this one or below."""
    ### BEGIN SOLUTION
    return math.ceil(math.log(0.05) / math.log(1 - rate))
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("9.6", highest_rate, seeds_to_exclude):
    for n in (5, 1, 60):
        bound = stats.binomtest(0, n, alternative="less").proportion_ci().high
        two_sided = stats.binomtest(0, n).proportion_ci().high
        checks.close(
            checks.number(highest_rate(n), f"highest_rate({n})", 0, 1), bound,
            f"For n = {n} it does not hold. With a failure rate r, how probable is it that no seed of n fails?",
            {f"For n = {n} that is the rate at which it happens in 2.5 of 100 cases.": two_sided,
             f"For n = {n} that is the rate of *success* at which it happens.": 1 - bound,
             f"For n = {n} that is the rule of three, 3 / n. It is good for many seeds, but you can be exact.": 3 / n,
             "That none has failed so far does not exclude every failure.": 0.0},
            relative=2e-3,
        )  # fmt: skip
        print(f"none of {n} failed: the rate may still be {bound:.1%}")
    for rate in (0.5, 0.1, 0.05):
        found = seeds_to_exclude(rate)
        checks.require(isinstance(found, int | np.integer), f"seeds_to_exclude({rate}) should be an integer.")
        checks.require(found > 0, f"seeds_to_exclude({rate}) is {found}: some seeds are needed.")
        lucky = [(1 - rate) ** k for k in (found, found - 1)]
        hint = f"With a rate of {rate}, {found} seeds go without a failure in {lucky[0]:.1%} of cases: too few seeds."
        checks.require(lucky[0] <= 0.05, hint)
        checks.require(lucky[1] > 0.05, f"To exclude a rate of {rate}, fewer than {found} seeds would do.")


# %% tags=["also-right"]
def highest_rate(n):
    return -math.expm1(math.log(0.05) / n)


def seeds_to_exclude(rate):
    n, lucky = 0, 1.0
    while lucky > 0.05:
        n, lucky = n + 1, lucky * (1 - rate)
    return np.int64(n)


# %% tags=["wrong"]
def highest_rate(n):  # the rule of three
    return min(1.0, 3 / n)


# %% tags=["wrong"]
def highest_rate(n):  # two-sided
    return 1 - 0.025 ** (1 / n)


# %% tags=["wrong"]
def seeds_to_exclude(rate):  # one too few
    return math.floor(math.log(0.05) / math.log(1 - rate))


# %% tags=["wrong"]
def highest_rate(n):  # what was observed
    return 0.0


# %% [markdown] tags=["in-words"]
# n seeds go without a failure with the probability (1 - r)^n, which is 0.05 at r = 1 - 0.05^(1/n). It is the
# one-sided bound of Clopper and Pearson. To exclude a rate of 5% takes 59 seeds: a mean over five says little about
# how often a method fails.

# %% [markdown]
# ## 9.7 A table of verdicts with three mistakes
#
# *debug, 20 min, medium*
#
# This function judges each pair of methods by their accuracies on the same seeds. It runs, and its table looks
# convincing. It has three mistakes, and each of them changes verdicts. Find them, and write it anew without them.
# (What have two methods with the same seed in common? How many tests are there? Which of ten networks would one get
# next time?)


# %% tags=["given"]
def broken_verdicts(scores, pairs):
    found = {}
    for a, b in pairs:
        p = stats.ttest_ind(scores[a], scores[b]).pvalue
        if p >= 0.05:
            found[a, b] = "undecided"
        else:
            found[a, b] = "supported" if max(scores[a]) > max(scores[b]) else "refuted"
    return found


# %% tags=["answer"]
def verdicts(scores, pairs):
    """By pair (a, b): "supported" if a is shown to be better than b on average, "refuted" if worse, else "undecided".

    `scores` are accuracies, an array by method, with the same seeds in the same order; `pairs` a list of (a, b). Of all
    pairs together, the chance of one false decision is below 5%.
    """
    ### BEGIN SOLUTION
    differences = [np.subtract(scores[a], scores[b]) for a, b in pairs]
    corrected = results.holm([results.p_value(of) for of in differences])
    found = {}
    for pair, of, p in zip(pairs, differences, corrected, strict=True):
        found[pair] = "undecided" if p >= 0.05 else "supported" if of.mean() > 0 else "refuted"
    return found
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("9.7", verdicts):
    random = np.random.default_rng(4)
    luck, noise = (
        random.normal(0, 0.02, 10),
        random.normal(size=(2, 10)),
    )  # of a seed, the same for all methods; its own
    noise = (noise - noise.mean(1, keepdims=True)) / noise.std(axis=1, ddof=1, keepdims=True)
    scores = {"A": 0.9 + luck, "B": 0.91 + luck + 0.003 * noise[0], "C": 0.9 + luck + 0.004 * (noise[0] + 0.83)}
    scores |= {"D": 0.9 + luck - 0.004 * (noise[1] + 0.82), "E": 0.97 + 0.001 * noise[1]}
    scores["F"] = scores["E"] - 0.05 + np.eye(10)[0] * 0.08  # its best seed is the best of all
    scores["G"] = 0.97105 + 0.001 * noise[0]
    pairs = [("B", "A"), ("C", "A"), ("D", "A"), ("E", "A"), ("F", "E"), ("G", "E")]

    def judged_by(paired=True, corrected=True, best=False):
        test, of = stats.ttest_rel if paired else stats.ttest_ind, np.max if best else np.mean
        p = np.array([test(scores[a], scores[b]).pvalue for a, b in pairs])
        sides = ["supported" if of(scores[a]) > of(scores[b]) else "refuted" for a, b in pairs]
        decided = (results.holm(p) if corrected else p) < 0.05
        return {pair: side if d else "undecided" for pair, side, d in zip(pairs, sides, decided, strict=True)}

    found, right = verdicts(scores, pairs), judged_by()
    checks.require(isinstance(found, dict) and set(found) == set(pairs), "Return a dict with a verdict for each pair.")
    for value in found.values():
        checks.option(value, ("supported", "refuted", "undecided"))
    for ways, hint in (
        (dict(paired=False, corrected=False, best=True), "These are still the verdicts of the broken function."),
        (
            dict(paired=False),
            "The seeds are the same for both methods, but your test does not know which belong together.",
        ),
        (dict(corrected=False), "Each test has its own 5%. There are as many as pairs, and all together may have 5%."),
        (dict(best=True), "Which of two is better on average is asked. Yours goes by the best of ten seeds."),
        (
            dict(paired=False, corrected=False),
            "One mistake is mended, two are left: both lie in how p is computed and used.",
        ),
        (
            dict(corrected=False, best=True),
            "One mistake is mended, two are left: how many tests are there, and which seeds count?",
        ),
        (
            dict(paired=False, best=True),
            "One mistake is mended, two are left: which values belong together, and which count?",
        ),
    ):
        checks.require(found == right or found != judged_by(**ways), hint)
    bad = [pair for pair in pairs if found[pair] != right[pair]]
    checks.require(
        not bad,
        f"{len(bad)} of {len(pairs)} verdicts are others, such as that of {' against '.join((bad or pairs)[0])}.",
    )
    for pair, before in broken_verdicts(scores, pairs).items():
        print(f"{' against '.join(pair)}: {before} before, {right[pair]} now")


# %% tags=["also-right"]
def verdicts(scores, pairs):
    p = {pair: stats.ttest_rel(scores[pair[0]], scores[pair[1]]).pvalue for pair in pairs}
    found, left = dict.fromkeys(pairs, "undecided"), len(pairs)
    for pair in sorted(p, key=p.get):  # the smallest first, each against what is left of the 5%
        if p[pair] >= 0.05 / left:
            break
        left -= 1
        found[pair] = "supported" if sum(scores[pair[0]]) > sum(scores[pair[1]]) else "refuted"
    return found


# %% tags=["wrong"]
verdicts = broken_verdicts


# %% tags=["wrong"]
def verdicts(scores, pairs):  # not corrected
    found = {}
    for a, b in pairs:
        p = stats.ttest_rel(scores[a], scores[b]).pvalue
        found[a, b] = (
            "undecided" if p >= 0.05 else "supported" if np.mean(scores[a]) > np.mean(scores[b]) else "refuted"
        )
    return found


# %% tags=["wrong"]
def verdicts(scores, pairs):  # the best seed
    corrected = results.holm([stats.ttest_rel(scores[a], scores[b]).pvalue for a, b in pairs])
    found = {}
    for (a, b), p in zip(pairs, corrected, strict=True):
        found[a, b] = "undecided" if p >= 0.05 else "supported" if max(scores[a]) > max(scores[b]) else "refuted"
    return found


# %% tags=["wrong"]
def verdicts(scores, pairs):  # not paired
    corrected = results.holm([stats.ttest_ind(scores[a], scores[b]).pvalue for a, b in pairs])
    found = {}
    for (a, b), p in zip(pairs, corrected, strict=True):
        found[a, b] = (
            "undecided" if p >= 0.05 else "supported" if np.mean(scores[a]) > np.mean(scores[b]) else "refuted"
        )
    return found


# %% [markdown] tags=["in-words"]
# 1: Two methods share a seed's luck, such as its labels or its initial weights. The paired test takes the
# differences, in which that luck cancels; the unpaired one counts it as noise and finds less. 2: Six tests at 5% each
# err together far more often. 3: The best of ten seeds says how far a method scatters, more than how good it is: of
# two equal ones, that which scatters more has the better best, and nobody gets it next time.

# %% [markdown]
# ## 9.8 True or false, and a claim written anew
#
# *explain, 20 min, medium*
#
# Judge each statement. Then answer in words, with the chapter's table before you:
#
# - Take a claim whose verdict is *mixed*, or any claim with two parts. Write it anew so that all of it is supported.
#   What has it lost?
# - Find a contrast that is statistically significant, and whose interval is well within what you would care about.
#   How would you report it?
# - Which verdict would you trust least on photographs, and what would you have to measure to know?
#
# The statements:
#
# - **a** An undecided contrast shows that there is no difference.
# - **b** A difference can be both significant and within the margin: "no difference that matters".
# - **c** A claim of two parts, one supported and one undecided, is mixed.
# - **d** If a threshold is changed after its number is known, and this is said, the same seeds may decide by the new
#   one.
# - **e** To compare two methods by the best of their ten seeds is fair, as both have ten.
# - **f** If thirteen independent contrasts have nothing to find, uncorrected tests at 5% find something in about half
#   of all reports.


# %% tags=["answer"]
def judgments():
    """A dict such as {"a": True, "b": False, ...}, with a judgment of each statement."""
    ### BEGIN SOLUTION
    return {"a": False, "b": True, "c": False, "d": False, "e": False, "f": True}
    ### END SOLUTION


# %% tags=["check"]
with checks.exercise("9.8", judgments):
    checks.judged(
        judgments(),
        "9.8",
        {"a": "e90484fb", "b": "e0c1f95d", "c": "970a2b0c", "d": "31e10453", "e": "3751f04e", "f": "664c3e54"},
    )


# %% tags=["also-right"]
def judgments():
    return {statement: statement in "bf" for statement in "abcdef"}


# %% tags=["wrong"]
def judgments():
    return {"a": False, "b": True, "c": True, "d": False, "e": False, "f": True}


# %% tags=["wrong"]
def judgments():
    return dict.fromkeys("abcdef", True)


# %% tags=["wrong"]
def judgments():
    return {"a": "false", "b": "true", "c": "false", "d": "false", "e": "false", "f": "true"}


# %% [markdown] tags=["in-words"]
# a: its interval was too wide to say. b: many seeds make a tiny difference significant; the verdict goes by the
# margin. c: undecided, since one part is. d: the new threshold has seen them; fresh seeds have to decide. e: the one
# that scatters more wins, and nobody gets its best seed next time. f: 1 - 0.95^13, about one half.
#
# Anew: a mixed claim holds once it is said of what it holds, such as "with a hundred labels two stages are more
# accurate than one network that knows as much", where that part is supported and those with more labels are refuted;
# what is lost is the part that one would have acted upon. A small
# but significant difference is reported with its interval and its unit, and with what it means in use ("one more
# error in a thousand images"). Least to be trusted elsewhere is what rests on the data being small, centered and on
# blank paper, and on distortions that leave a digit what it is: one would have to run the same contrasts, by the same
# rules, on photographs.
