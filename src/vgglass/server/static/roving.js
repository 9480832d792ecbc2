// A group of controls as one tab stop: arrow keys, Home and End move among them.

const STEPS = new Map([["ArrowRight", 1], ["ArrowDown", 1], ["ArrowLeft", -1], ["ArrowUp", -1]]);
const CONTROLS = "a, button, select, input, [role=button]";
const CURRENT = '[aria-current="true"], [aria-current="page"], [aria-pressed="true"], [aria-checked="true"]';

/** Move among the group's controls from now on. @param {HTMLElement} group */
export function rove(group) {
  group.addEventListener("keydown", event => {
    const shown = controls(group), at = shown.findIndex(each => each === document.activeElement);
    const ends = new Map([["Home", 0], ["End", shown.length - 1]]), step = STEPS.get(event.key);
    if (at < 0 || (step === undefined && !ends.has(event.key))) return;
    event.preventDefault();
    const next = ends.get(event.key) ?? (at + (step ?? 0) + shown.length) % shown.length;
    shown[next].focus();
    settle(group, shown[next]);
  });
  settle(group);
}

/** Leave one tab stop, after the controls were drawn anew. @param {HTMLElement} group
 * @param {HTMLElement} [kept] by default the one with the focus, the current one or the first */
export function settle(group, kept) {
  const shown = controls(group);
  kept ??= shown.find(each => each === document.activeElement) ?? shown.find(each => each.matches(CURRENT)) ?? shown[0];
  for (const each of shown) each.tabIndex = each === kept ? 0 : -1;
}

/** @param {HTMLElement} group */
const controls = group =>
  [...group.querySelectorAll(CONTROLS)]
    .filter(each => each instanceof HTMLElement)
    .filter(each => each.checkVisibility());
