package main

import (
	"slices"
	"strings"
	"testing"
)

func TestDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		bare, other map[string]string
		want        []string
	}{
		"same": {
			map[string]string{"A": pass, "B": fail, "C": skip},
			map[string]string{"A": pass, "B": fail, "C": skip}, nil,
		},
		"better": {map[string]string{"A": fail}, map[string]string{"A": pass}, nil},
		"fails":  {map[string]string{"A": pass, "B": pass}, map[string]string{"A": fail, "B": crash}, []string{"A", "B"}},
		"skips":  {map[string]string{"A": pass}, map[string]string{"A": skip}, []string{"A"}},
		"only the subtest": {
			map[string]string{"A": pass, "A/h1": pass, "A/h2": pass},
			map[string]string{"A": fail, "A/h1": pass, "A/h2": fail},
			[]string{"A/h2"},
		},
		"only the test that stopped early": {
			map[string]string{"A": pass, "A/h1": pass},
			map[string]string{"A": fail},
			[]string{"A"},
		},
		"missing": {
			map[string]string{"A": pass, "A/h1": pass},
			map[string]string{"A": pass},
			[]string{"A/h1"},
		},
		"alike names":  {map[string]string{"A": pass, "AB": pass}, map[string]string{"A": fail, "AB": fail}, []string{"A", "AB"}},
		"leak at exit": {map[string]string{"A": pass}, map[string]string{"A": pass, exitTest: fail}, []string{exitTest}},
		"leak in both": {map[string]string{exitTest: fail}, map[string]string{exitTest: fail}, nil},
	} {
		if got := differences(c.bare, c.other); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// That a listed test fails bare as well, once, says nothing of the list.
func TestTells(t *testing.T) {
	for name, want := range map[string]bool{"A": true, "A/h1": true, "B": false, "C/h1": false, "D": false, "E": true} {
		bare := map[string]string{"A": pass, "A/h1": pass, "B": fail, "C": crash, "D": crash, "E": skip}
		if got := tells(bare, name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	r := &row{suite: "client", mode: "pass", listed: 1, fresh: 2}
	r.count(&results{tests: map[string]string{"A": pass, "B": skip, "C": fail, "D": crash}, requests: 7})
	var out strings.Builder
	printTable(&out, []*row{r})
	line := strings.Fields(strings.Split(out.String(), "\n")[1])
	if want := strings.Fields("client pass 4 1 1 2 1 0 2 7 0.0"); !slices.Equal(line, want) {
		t.Errorf("got %q, want %q", line, want)
	}
}

// A line is needed in every mode that it is about, unless it is flaky.
func TestCheckList(t *testing.T) {
	list, err := parseList("any a T1 x\nany a T2 flaky: x\npass a T3 x\n")
	if err != nil {
		t.Fatal(err)
	}
	list[0].gone, list[1].gone = []string{"pass"}, []string{"pass"}
	c := &comparison{list: list}
	c.checkList()
	if c.found != 1 {
		t.Errorf("got %d findings, want 1", c.found)
	}
}
