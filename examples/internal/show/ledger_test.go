package show

import "testing"

func TestLedger(t *testing.T) {
	var l ledger
	steps := []struct {
		do                          func()
		executed, twice, duplicates int
	}{
		{func() { l.delivered("a") }, 0, 0, 0}, // looked up, not there
		{func() { l.execute("a") }, 1, 0, 0},
		{func() { l.execute("b") }, 2, 0, 0},
		{func() { l.delivered("a") }, 2, 0, 1},
		{func() { l.delivered("a") }, 2, 0, 2},
		{func() { l.execute("a") }, 2, 1, 2},
		{func() { l.execute("a") }, 2, 1, 2}, // three times is one write still
		{func() { l.execute("b") }, 2, 2, 2},
	}
	for i, step := range steps {
		step.do()
		executed, twice, duplicates := l.count()
		if executed != step.executed || twice != step.twice || duplicates != step.duplicates {
			t.Errorf("step %d: got %d executed, %d twice, %d duplicates, want %d, %d, %d",
				i, executed, twice, duplicates, step.executed, step.twice, step.duplicates)
		}
	}
}
