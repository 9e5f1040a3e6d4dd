package browser

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// A View is what a page is seen on.
type View struct {
	Width, Height int
	Dark          bool
	NoScript      bool
}

// A Page is a tab, with cookies and storage of its own.
type Page struct {
	b       *Browser
	context string
	session string

	mu       sync.Mutex
	problems []string // guarded by mu
}

// object are the parameters of a command.
type object = map[string]any

// Open opens a tab for a view.
func (b *Browser) Open(ctx context.Context, v View) (*Page, error) {
	var made struct {
		Context string `json:"browserContextId"`
		Target  string `json:"targetId"`
		Session string `json:"sessionId"`
	}
	if err := b.call(ctx, "", "Target.createBrowserContext", object{}, &made); err != nil {
		return nil, err
	}
	if err := b.call(ctx, "", "Target.createTarget", object{"url": "about:blank", "browserContextId": made.Context}, &made); err != nil {
		return nil, err
	}
	if err := b.call(ctx, "", "Target.attachToTarget", object{"targetId": made.Target, "flatten": true}, &made); err != nil {
		return nil, err
	}
	p := &Page{b: b, context: made.Context, session: made.Session}
	b.mu.Lock()
	b.events[p.session] = p.hear
	b.mu.Unlock()
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	for _, c := range []struct {
		method string
		params object
	}{
		{"Page.enable", nil},
		{"Runtime.enable", nil},
		{"Log.enable", nil},
		{"Network.enable", nil},
		{"Emulation.setDeviceMetricsOverride", object{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": v.Width < 600}},
		{"Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}},
		{"Emulation.setScriptExecutionDisabled", object{"value": v.NoScript}},
		{"Emulation.setFocusEmulationEnabled", object{"enabled": true}},
	} {
		if err := p.call(ctx, c.method, c.params, nil); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Close closes the tab.
func (p *Page) Close(ctx context.Context) error {
	return p.b.call(ctx, "", "Target.disposeBrowserContext", object{"browserContextId": p.context}, nil)
}

// call runs a command in the tab.
func (p *Page) call(ctx context.Context, method string, params object, result any) error {
	if params == nil {
		params = object{}
	}
	return p.b.call(ctx, p.session, method, params, result)
}

// hear keeps what the console says that is no good. Answers with a status of 400
// or more stand there too.
func (p *Page) hear(e *event) {
	problem := ""
	switch e.Method {
	case "Runtime.exceptionThrown":
		problem = "exception: " + string(e.Params)
	case "Runtime.consoleAPICalled":
		problem = "console: " + string(e.Params)
	case "Log.entryAdded":
		var log struct {
			Entry struct {
				Level, Source, Text, URL string
			}
		}
		if json.Unmarshal(e.Params, &log) == nil && (log.Entry.Level == "error" || log.Entry.Level == "warning") {
			problem = fmt.Sprintf("%s: %s: %s (%s)", log.Entry.Level, log.Entry.Source, log.Entry.Text, log.Entry.URL)
		}
	}
	if problem != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.problems = append(p.problems, problem)
	}
}

// Problems are what the console said since the last call: errors, warnings,
// violations of policies, and whatever a script wrote.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.problems
	p.problems = nil
	return list
}

// Go leads the tab to a URL and waits until the page is there.
func (p *Page) Go(ctx context.Context, url string) error {
	var went struct{ ErrorText string }
	if err := p.call(ctx, "Page.navigate", object{"url": url}, &went); err != nil {
		return err
	}
	if went.ErrorText != "" {
		return fmt.Errorf("browser: %s: %s", url, went.ErrorText)
	}
	return p.Until(ctx, "document.readyState === 'complete'")
}

// Eval is the value of an expression in the page, as JSON has it.
func (p *Page) Eval(ctx context.Context, expression string, result any) error {
	var got struct {
		Result struct {
			Value json.RawMessage
		}
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := p.call(ctx, "Runtime.evaluate", object{"expression": expression, "returnByValue": true, "awaitPromise": true}, &got); err != nil {
		return err
	}
	if d := got.ExceptionDetails; d != nil {
		return fmt.Errorf("browser: %s: %s %s", expression, d.Text, d.Exception.Description)
	}
	if len(got.Result.Value) == 0 {
		return fmt.Errorf("browser: %s: has no value", expression)
	}
	return json.Unmarshal(got.Result.Value, result)
}

// Until waits until an expression is true.
func (p *Page) Until(ctx context.Context, expression string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var ok bool
		if err := p.Eval(ctx, "!!("+expression+")", &ok); err != nil && ctx.Err() == nil && !strings.Contains(err.Error(), "context") {
			return err
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("browser: waited for %s: %w", expression, context.Cause(ctx))
		}
	}
}

// codes are the numbers of keys that are not letters.
var codes = map[string]int{"Tab": 9, "Enter": 13, "Space": 32, "Escape": 27}

// Press presses keys, one after the other. One with the name Shift+Tab goes back.
func (p *Page) Press(ctx context.Context, keys ...string) error {
	for _, k := range keys {
		name, shift := strings.CutPrefix(k, "Shift+")
		key, text, modifiers := name, "", 0
		switch name {
		case "Enter":
			text = "\r"
		case "Space":
			key, text = " ", " "
		}
		if shift {
			modifiers = 8
		}
		down := object{"type": "keyDown", "key": key, "code": name, "windowsVirtualKeyCode": codes[name], "modifiers": modifiers}
		if text != "" {
			down["text"] = text
		}
		if err := p.call(ctx, "Input.dispatchKeyEvent", down, nil); err != nil {
			return err
		}
		up := object{"type": "keyUp", "key": key, "code": name, "windowsVirtualKeyCode": codes[name], "modifiers": modifiers}
		if err := p.call(ctx, "Input.dispatchKeyEvent", up, nil); err != nil {
			return err
		}
	}
	return nil
}

// Type types a text, letter by letter.
func (p *Page) Type(ctx context.Context, text string) error {
	for _, r := range text {
		for _, kind := range []string{"keyDown", "keyUp"} {
			params := object{"type": kind, "key": string(r)}
			if kind == "keyDown" {
				params["text"] = string(r)
			}
			if err := p.call(ctx, "Input.dispatchKeyEvent", params, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Screenshot is a PNG of what is seen, or of the whole page.
func (p *Page) Screenshot(ctx context.Context, whole bool) ([]byte, error) {
	var shot struct{ Data string }
	params := object{"format": "png", "optimizeForSpeed": false}
	if whole {
		var size struct {
			CSSContentSize struct{ Width, Height float64 } `json:"cssContentSize"`
		}
		if err := p.call(ctx, "Page.getLayoutMetrics", nil, &size); err != nil {
			return nil, err
		}
		params["captureBeyondViewport"] = true
		params["clip"] = object{"x": 0, "y": 0, "width": size.CSSContentSize.Width, "height": size.CSSContentSize.Height, "scale": 1}
	}
	if err := p.call(ctx, "Page.captureScreenshot", params, &shot); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(shot.Data)
}
