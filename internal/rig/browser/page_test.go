package browser_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tullemesh/tulle/internal/rig/browser"
)

// state is the state of an endpoint as the page of its service shows it.
func state(s *server) string {
	return fmt.Sprintf(`document.querySelector('tr[data-key="%s"] .state').textContent`, s.addr)
}

// An endpoint that answers badly is seen to be left out, and to come back when it
// is well again, without anything being done in the browser.
func TestEjection(t *testing.T) {
	b, r, ctx := start(t), newRig(t), limit(t)
	p := open(ctx, t, b, r.url+"service?name=users", desktop())
	bad := r.users[1]
	until(ctx, t, p, state(bad)+" === 'healthy'")
	// What is said is replaced by what is said next, which may come soon.
	eval[bool](ctx, t, p, `(s => {
		window.heard = [];
		new MutationObserver(() => heard.push(...s.textContent.split('; '))).observe(s, {childList: true});
		return true;
	})(document.getElementById('said'))`)
	bad.failing.Store(true)
	until(ctx, t, p, state(bad)+" === 'ejected'")
	until(ctx, t, p, "document.getElementById('title').textContent.includes('left out')")
	until(ctx, t, p, "document.getElementById('changes').textContent.includes('"+bad.addr+"')")
	until(ctx, t, p, "heard.includes('users "+bad.addr+" ejected')")
	if got := eval[string](ctx, t, p, state(r.users[0])); got != "healthy" {
		t.Errorf("got %s for another one", got)
	}
	until(ctx, t, p, "document.getElementById('chart-out').querySelector('strong').textContent === '1'")
	bad.failing.Store(false)
	until(ctx, t, p, state(bad)+" === 'returning'")
	until(ctx, t, p, state(bad)+" === 'healthy'")
	until(ctx, t, p, "document.getElementById('title').textContent.includes('all well')")
}

// One that is killed is seen to be left out, on the page of all services too, and
// to live again.
func TestKill(t *testing.T) {
	b, r, ctx := start(t), newRig(t), limit(t)
	p := open(ctx, t, b, r.url, desktop())
	of := open(ctx, t, b, r.url+"service?name=orders", desktop())
	row := `document.querySelector('tr[data-key="orders"]')`
	until(ctx, t, p, row+".textContent.includes('left out') === false && "+row+".querySelector('rect.healthy')")
	r.orders[2].kill()
	until(ctx, t, p, row+".textContent.includes('left out') && "+row+".querySelector('rect.dead, rect.ejected')")
	until(ctx, t, p, row+" === document.querySelector('tbody tr')") // trouble first
	// What was under way when it was killed may have failed in another way.
	until(ctx, t, of, "['dead', 'ejected'].includes("+state(r.orders[2])+")")
	r.orders[2].start()
	until(ctx, t, of, state(r.orders[2])+" === 'healthy'")
	until(ctx, t, p, row+".textContent.includes('left out') === false")
}

// tabTo presses Tab until an expression about the focused element e is true.
func tabTo(ctx context.Context, t *testing.T, p *browser.Page, expression string) {
	t.Helper()
	for range 60 {
		if err := p.Press(ctx, "Tab"); err != nil {
			t.Fatal(err)
		}
		if eval[bool](ctx, t, p, "(e => !!("+expression+"))(document.activeElement)") {
			if !eval[bool](ctx, t, p, "(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))") {
				t.Errorf("%s: the focus is not seen", expression)
			}
			return
		}
	}
	t.Fatalf("got no focus on %s in 60 steps", expression)
}

// press presses keys.
func press(ctx context.Context, t *testing.T, p *browser.Page, keys ...string) {
	t.Helper()
	if err := p.Press(ctx, keys...); err != nil {
		t.Fatal(err)
	}
}

// The keyboard alone leads to the decisions, filters them while they come in, and
// opens one, which stays open and focused.
func TestKeyboard(t *testing.T) {
	b, r, ctx := start(t), newRig(t), limit(t)
	p := open(ctx, t, b, r.url, desktop())
	press(ctx, t, p, "Tab")
	if got := eval[string](ctx, t, p, "document.activeElement.textContent"); got != "Skip to content" {
		t.Errorf("got first %q", got)
	}
	press(ctx, t, p, "Enter")
	until(ctx, t, p, "location.hash === '#main' && document.activeElement.id === 'main'")
	press(ctx, t, p, "Tab")
	if !eval[bool](ctx, t, p, "!!document.activeElement.closest('main')") {
		t.Error("the skip link leads past nothing")
	}
	if err := p.Go(ctx, r.url); err != nil {
		t.Fatal(err)
	}
	tabTo(ctx, t, p, "e.pathname && e.pathname.endsWith('/records')")
	press(ctx, t, p, "Enter")
	until(ctx, t, p, "location.pathname.endsWith('/records') && document.querySelector('#state[data-state=live]') && document.querySelectorAll('details').length >= 20")
	tabTo(ctx, t, p, "e.name === 'status'")
	if err := p.Type(ctx, "5xx"); err != nil {
		t.Fatal(err)
	}
	all := "[...document.querySelectorAll('summary')]"
	until(ctx, t, p, "location.search === '?status=5xx' && "+all+".length >= 5 && "+all+".every(s => s.textContent.includes('500'))")
	press(ctx, t, p, "Shift+Tab")
	if err := p.Type(ctx, "/v1/b"); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, p, "location.search.includes('path=%2Fv1%2Fb') && "+all+".length >= 5 && "+all+".every(s => s.textContent.includes('/v1/broken'))")
	if got := eval[string](ctx, t, p, "document.activeElement.name"); got != "path" {
		t.Errorf("got the focus on %q while the list changed, want it to stay", got)
	}
	tabTo(ctx, t, p, "e.localName === 'summary'")
	press(ctx, t, p, "Enter")
	id := eval[string](ctx, t, p, "document.activeElement.parentNode.id")
	open := fmt.Sprintf("document.getElementById('%s')", id)
	if !eval[bool](ctx, t, p, open+".open && "+open+".textContent.includes('Candidates of attempt 1')") {
		t.Error("the decision is not opened, or says nothing")
	}
	first := eval[string](ctx, t, p, "document.querySelector('details').id")
	until(ctx, t, p, "document.querySelector('details').id !== '"+first+"'") // others came in above
	if !eval[bool](ctx, t, p, open+".open && document.activeElement.parentNode === "+open) {
		t.Error("the decision that was opened is closed, or has lost the focus")
	}
}

// Pause stops the changes, and starts them again.
func TestPause(t *testing.T) {
	b, r, ctx := start(t), newRig(t), limit(t)
	p := open(ctx, t, b, r.url, desktop())
	tabTo(ctx, t, p, "e.id === 'pause'")
	press(ctx, t, p, "Space")
	until(ctx, t, p, "document.getElementById('state').dataset.state === 'still' && document.getElementById('pause').getAttribute('aria-pressed') === 'true'")
	// A fetch that was under way may end yet; one that is not paused comes with each
	// pulse, of which there are six in this time.
	before, still := "", false
	for range 5 {
		before = eval[string](ctx, t, p, "document.getElementById('at').dateTime")
		eval[bool](ctx, t, p, "new Promise(r => setTimeout(() => r(true), 1500))")
		if still = eval[string](ctx, t, p, "document.getElementById('at').dateTime") == before; still {
			break
		}
	}
	if !still {
		t.Error("it goes on while it is paused")
	}
	press(ctx, t, p, "Space")
	until(ctx, t, p, "document.getElementById('at').dateTime !== '"+before+"'")
}

// Without JavaScript the page shows the same, and its filter works.
func TestNoScript(t *testing.T) {
	b, r, ctx := start(t), newRig(t), limit(t)
	v := desktop()
	v.NoScript = true
	p := open(ctx, t, b, r.url, v)
	for _, want := range []string{"users", "orders", "4f2a91c"} {
		if text := eval[string](ctx, t, p, "document.querySelector('main').textContent"); !strings.Contains(text, want) {
			t.Errorf("got no %q in %s", want, text)
		}
	}
	tabTo(ctx, t, p, "e.name === 'q'")
	if err := p.Type(ctx, "user"); err != nil {
		t.Fatal(err)
	}
	press(ctx, t, p, "Enter")
	until(ctx, t, p, "location.search.includes('q=user') && document.readyState === 'complete'")
	if got := eval[int](ctx, t, p, "document.querySelectorAll('tr[data-key]').length"); got != 1 {
		t.Errorf("got %d rows, want 1", got)
	}
}

// When the program goes, the page says that it is alone.
func TestLost(t *testing.T) {
	b, r, ctx := start(t), newRig(t), limit(t)
	p, err := b.Open(ctx, desktop())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Go(ctx, r.url); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, p, "document.getElementById('state').dataset.state === 'live'")
	r.handler.Close()
	until(ctx, t, p, "document.getElementById('state').dataset.state === 'lost'")
	if got := eval[int](ctx, t, p, "document.querySelectorAll('tr[data-key]').length"); got != 2 {
		t.Errorf("got %d rows, want what was known last", got)
	}
}

// Another site reads nothing, in any of the ways there are; its links work.
func TestOtherSite(t *testing.T) {
	b, r, ctx := start(t), newRig(t), limit(t)
	evil := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<title>evil</title><a id=link href=%q>x</a><iframe src=%[1]q></iframe>", r.url)
	}))
	_, port, _ := strings.Cut(evil, ":")
	for _, origin := range []string{evil, "localhost:" + port} { // another port, and another site
		p, err := b.Open(ctx, desktop())
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Go(ctx, "http://"+origin+"/"); err != nil {
			t.Fatal(err)
		}
		for name, expression := range map[string]string{
			"fetch":   "fetch(URL).then(r => r.text()).then(t => 'read ' + t.length, () => 'refused')",
			"no-cors": "fetch(URL, {mode: 'no-cors'}).then(r => r.text()).then(t => t ? 'read' : 'refused', () => 'refused')",
			"events":  "new Promise(r => { const s = new EventSource(URL.replace('snapshot.json', 'events')); s.onmessage = s.onopen = () => r('read'); s.onerror = () => { s.close(); r('refused') } })",
			"script":  "new Promise(r => { const s = document.createElement('script'); s.src = URL.replace('snapshot.json', 'app.js'); s.onload = () => r('read'); s.onerror = () => r('refused'); document.body.append(s) })",
			"image":   "new Promise(r => { const s = new Image(); s.src = URL.replace('snapshot.json', 'icon.svg'); s.onload = () => r('read'); s.onerror = () => r('refused') })",
			"frame":   "(() => { try { return frames[0].document.title || 'refused' } catch { return 'refused' } })()",
		} {
			got := eval[string](ctx, t, p, strings.ReplaceAll(expression, "URL", "'"+r.url+"snapshot.json'"))
			if got != "refused" {
				t.Errorf("%s from %s: got %s", name, origin, got)
			}
		}
		eval[bool](ctx, t, p, "(document.getElementById('link').click(), true)")
		until(ctx, t, p, "location.href === '"+r.url+"' && document.querySelectorAll('tr[data-key]').length === 2")
	}
}

// lowContrast are the texts of a page that have less contrast with what is behind
// them than WCAG 2.2 wants at level AA: 4.5, or 3 for large ones.
const lowContrast = `(() => {
  const ctx = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d', {willReadFrequently: true});
  const rgba = css => {
    ctx.clearRect(0, 0, 1, 1);
    ctx.fillStyle = css;
    ctx.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = ctx.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => under.map((u, i) => top[i] * top[3] + u * (1 - top[3]));
  const behind = e => {
    const layers = [];
    for (; e; e = e.parentElement) {
      layers.push(rgba(getComputedStyle(e).backgroundColor));
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const bad = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement, s = getComputedStyle(e);
    if (!texts.currentNode.nodeValue.trim() || !e.checkVisibility({visibilityProperty: true}) || e.closest('.unseen, .skip, option, datalist')) {
      continue;
    }
    const under = behind(e), [a, b] = [light(over(rgba(s.color), under)), light(under)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(s.fontSize), large = size >= 24 || size >= 18.66 && s.fontWeight >= 700;
    if (ratio < (large ? 3 : 4.5)) {
      bad.add(ratio.toFixed(2) + ' ' + e.className + ' ' + texts.currentNode.nodeValue.trim().slice(0, 30));
    }
  }
  return [...bad];
})()`

// The pages fit on a phone and on a desktop, light and dark, while something is
// wrong: nothing sticks out, and every text can be read.
func TestViews(t *testing.T) {
	b, r, ctx := start(t), newRig(t), limit(t)
	first := open(ctx, t, b, r.url+"service?name=users", desktop())
	r.users[1].failing.Store(true)
	r.orders[2].kill()
	until(ctx, t, first, state(r.users[1])+" === 'ejected'")
	until(ctx, t, first, "document.querySelectorAll('details').length >= 10")
	for _, v := range []browser.View{
		{Width: 390, Height: 844}, {Width: 390, Height: 844, Dark: true}, {Width: 1280, Height: 800}, {Width: 1280, Height: 800, Dark: true},
		{Width: 375, Height: 667}, {Width: 820, Height: 1180}, {Width: 1000, Height: 700},
	} {
		for name, path := range map[string]string{"services": "", "service": "service?name=users", "records": "records?path=/v1/me"} {
			p := open(ctx, t, b, r.url+path, v)
			eval[int](ctx, t, p, "(document.querySelectorAll('details').forEach((d, i) => d.open = i === 0), 0)")
			if got := eval[int](ctx, t, p, "document.documentElement.scrollWidth"); got > v.Width {
				t.Errorf("%s at %d: it is %d wide", name, v.Width, got)
			}
			if bad := eval[[]string](ctx, t, p, lowContrast); len(bad) > 0 {
				t.Errorf("%s at %d, dark %v: too little contrast: %q", name, v.Width, v.Dark, bad)
			}
			shoot(ctx, t, p, fmt.Sprintf("%s-%d-%s", name, v.Width, map[bool]string{false: "light", true: "dark"}[v.Dark]))
			if err := p.Close(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// shoot leaves a picture where TULLE_SCREENSHOTS says.
func shoot(ctx context.Context, t *testing.T, p *browser.Page, name string) {
	t.Helper()
	dir := os.Getenv("TULLE_SCREENSHOTS")
	if dir == "" {
		return
	}
	// A round of changes, so that the picture is of a page at work.
	eval[bool](ctx, t, p, "new Promise(r => setTimeout(() => r(true), 600))")
	for _, whole := range []bool{false, true} {
		png, err := p.Screenshot(ctx, whole)
		if err != nil {
			t.Fatal(err)
		}
		file := name + map[bool]string{false: "", true: "-whole"}[whole] + ".png"
		if err := os.WriteFile(filepath.Join(dir, file), png, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
