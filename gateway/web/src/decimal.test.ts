import { expect, test } from "vitest";
import { compare, percent, scaleOf, subtract, trimmed } from "./decimal";

test("a difference has every digit", () => {
  expect(subtract("61234.12345678901234567891", "61234.12345678901234567890")).toBe("0.00000000000000000001");
  expect(subtract("0.3", "0.1")).toBe("0.2");
  expect(subtract("5", "7.25")).toBe("-2.25");
  expect(subtract("1e5", "1")).toBeUndefined();
});

test("trailing zeros change nothing", () => {
  expect(compare("50000.00", "50000")).toBe(0);
  expect(compare("9007199254740993", "9007199254740992")).toBe(1);
  expect(compare("-1", "0.1")).toBe(-1);
  expect([undefined, "2", "10"].map((text) => compare(text, "2"))).toEqual([-1, 0, 1]);
});

test("zeros at the end go, digits stay", () => {
  expect(["285022.00000000", "0.10", "100", "1.05"].map(trimmed)).toEqual(["285022", "0.1", "100", "1.05"]);
});

test("a change in percent", () => {
  expect(percent("101", "100")).toBe(1);
  expect(percent("99.5", "100")).toBe(-0.5);
  expect(percent("1", "0")).toBeUndefined();
  expect(scaleOf("1.230")).toBe(3);
});
