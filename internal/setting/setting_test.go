package setting_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tullemesh/tulle/internal/leak"
	"github.com/tullemesh/tulle/internal/setting"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestText(t *testing.T) {
	inner := &setting.Error{Package: "retry", Field: "Attempts", Value: 11, Want: "1 to 10"}
	outer := &setting.Within{Package: "transport", Field: "Defaults.Retry", Err: inner}
	if got, want := inner.Error(), "retry: Attempts 11: want 1 to 10"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := outer.Error(), "transport: Defaults.Retry: retry: Attempts 11: want 1 to 10"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, ok := errors.AsType[*setting.Error](outer); !ok || got != inner {
		t.Errorf("got %v, want the error inside", got)
	}
}

func TestWalk(t *testing.T) {
	plain := errors.New("no such host")
	err := errors.Join(
		&setting.Within{Field: "Defaults.Retry", Err: errors.Join(
			&setting.Error{Field: "Attempts", Value: 11},
			&setting.Within{Field: "Budget", Err: errors.Join(&setting.Error{Field: "Ratio", Value: 2})},
		)},
		&setting.Within{Field: "Target", Err: plain},
		&setting.Error{Field: "Unknown", Value: 9},
		plain,
		fmt.Errorf("wrapped by somebody else: %w", &setting.Error{Field: "X"}),
	)
	var got []string
	setting.Walk(err, func(field string, e *setting.Error, err error) {
		if err == nil {
			t.Errorf("%s: got no error", field)
		}
		got = append(got, fmt.Sprintf("%s %v", field, e != nil))
	})
	want := []string{
		"Defaults.Retry.Attempts true", "Defaults.Retry.Budget.Ratio true", "Target false", "Unknown true", " false", " false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	setting.Walk(nil, func(string, *setting.Error, error) { t.Error("found something in no error") })
}
