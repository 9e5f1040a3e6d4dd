// Keeps the page up to date. Without it the page is the same, as of when it was
// loaded: all that is shown comes from the server as HTML, which this fetches
// again at each pulse and takes over where it differs.
'use strict';

(() => {
  const at = id => document.getElementById(id);
  const lost = 'not connected', state = at('state'), text = at('state-text'), button = at('pause'), said = at('said');
  let source = null, retry = 0, paused = false, busy = false, again = false;

  const show = (name, words) => {
    state.dataset.state = name;
    text.textContent = words;
  };

  // refresh fetches the page and takes over its live parts. One fetch runs at a
  // time; what is asked for meanwhile is done once, after it.
  const refresh = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      const from = location.href;
      const answer = await fetch(from, {headers: {Accept: 'text/html'}});
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      if (from === location.href && answer.ok) {
        take(page);
      } else if (!answer.ok) {
        show('lost', answer.status === 404 ? 'it is gone' : lost);
      }
    } catch {
      show('lost', lost);
    }
    busy = false;
    if (again) {
      again = false;
      refresh();
    }
  };

  // take takes over what is live.
  const take = page => {
    document.title = page.title;
    for (const e of document.querySelectorAll('[data-live]')) {
      const next = page.getElementById(e.id);
      if (next) {
        merge(e, next);
      }
    }
  };

  const keyOf = n => n.nodeType === 1 ? n.id || n.dataset.key || '' : '';

  // merge makes one node like another of its kind. Nodes that are there stay, so
  // that focus, selection and opened details do.
  const merge = (to, from) => {
    if (to.nodeType !== 1) {
      if (to.nodeValue !== from.nodeValue) {
        to.nodeValue = from.nodeValue;
      }
      return;
    }
    for (const {name} of [...to.attributes]) {
      if (!from.hasAttribute(name) && name !== 'open') {
        to.removeAttribute(name);
      }
    }
    for (const {name, value} of [...from.attributes]) {
      if (to.getAttribute(name) !== value) {
        to.setAttribute(name, value);
      }
    }
    const keyed = new Map();
    for (const n of to.childNodes) {
      if (keyOf(n)) {
        keyed.set(keyOf(n), n);
      }
    }
    let here = to.firstChild;
    for (const want of [...from.childNodes]) {
      const key = keyOf(want);
      let have = key ? keyed.get(key) : here;
      if (!have || have.nodeName !== want.nodeName || keyOf(have) !== key) {
        to.insertBefore(document.importNode(want, true), here);
        continue;
      }
      if (have === here) {
        here = here.nextSibling;
      } else {
        to.insertBefore(have, here);
      }
      merge(have, want);
    }
    while (here) {
      const next = here.nextSibling;
      here.remove();
      here = next;
    }
  };

  // tell says aloud what has changed, to who cannot see it.
  const tell = changes => {
    const words = changes.slice(-3).map(c => [c.service, c.endpoint || (c.kind === 'endpoint' ? '' : c.kind), c.to.replace('_', ' ')].filter(Boolean).join(' '));
    if (words.length) {
      said.textContent = words.join('; ');
    }
  };

  const connect = () => {
    disconnect();
    source = new EventSource('events');
    source.addEventListener('pulse', e => {
      show('live', 'live');
      tell(JSON.parse(e.data).changes);
      refresh();
    });
    source.onerror = () => {
      show('lost', lost);
      if (source.readyState === EventSource.CLOSED) { // it was refused, and does not try again by itself
        retry = setTimeout(connect, 10000);
      }
    };
  };

  const disconnect = () => {
    clearTimeout(retry);
    if (source) {
      source.close();
      source = null;
    }
  };

  // follow connects while somebody can see the page and wants to.
  const follow = () => {
    if (paused || document.hidden) {
      disconnect();
      show('still', paused ? 'paused at' : 'as of');
    } else {
      connect();
    }
  };

  if (!document.querySelector('main [data-live]')) {
    return; // a page that says what is wrong stays as it is
  }

  button.hidden = false;
  button.addEventListener('click', () => {
    paused = !paused;
    button.setAttribute('aria-pressed', paused);
    follow();
  });
  document.addEventListener('visibilitychange', follow);
  addEventListener('pagehide', disconnect);
  addEventListener('pageshow', e => e.persisted && follow());

  // A filter applies while it is typed. Its URL can be kept.
  for (const form of document.querySelectorAll('form.filter')) {
    let timer = 0;
    form.querySelector('button').hidden = true; // Enter does the same
    const apply = () => {
      if (!form.checkValidity()) {
        return; // it is not typed to the end
      }
      const query = new URLSearchParams();
      for (const [name, value] of new FormData(form)) {
        if (value) {
          query.append(name, value);
        }
      }
      history.replaceState(null, '', location.pathname + (query.size ? '?' + query : ''));
      refresh();
    };
    form.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(apply, 250);
    });
    form.addEventListener('submit', e => {
      e.preventDefault();
      clearTimeout(timer);
      apply();
    });
  }

  follow();
})();
