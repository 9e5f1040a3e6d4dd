package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// references fills in ${NAME} and ${file:path}.
type references struct {
	env    func(name string) (string, bool)
	source *source

	// secrets is what references led to, so that nothing of it gets into a
	// message.
	secrets []string
}

// envName is what a variable may be called.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

const fileReference = "file:"

// maxReference bounds the file of a reference.
const maxReference = 64 << 10

// fill returns s with its references filled in, and whether there was one. Its
// errors name references and not what they lead to. What is filled in is not
// looked at again.
func (r *references) fill(s string) (text string, used bool, err error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			return b.String() + s, used, nil
		}
		if i > 0 && s[i-1] == '$' { // $${ stands for ${
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		name, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return "", false, fmt.Errorf("%s: a reference has no end: want ${NAME} or ${file:path}, or $${ for the characters themselves", shown(s[i:]))
		}
		value, err := r.look(name)
		if err != nil {
			return "", false, err
		}
		if value != "" {
			r.secrets = append(r.secrets, value)
		}
		b.WriteString(value)
		used, s = true, rest
	}
}

// look finds what one reference leads to.
func (r *references) look(name string) (string, error) {
	if path, ok := strings.CutPrefix(name, fileReference); ok {
		data, err := r.source.read(path, maxReference)
		if err != nil {
			return "", fmt.Errorf("the reference ${%s}: %w", bounded(name), err)
		}
		// Editors and "echo" end files with a line break that nobody means.
		return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
	}
	if !envName.MatchString(name) {
		return "", fmt.Errorf("the reference %s: want ${NAME} with letters, digits and _, or ${file:path}", shown("${"+name+"}"))
	}
	value, ok := r.env(name)
	if !ok {
		return "", fmt.Errorf("the reference ${%s}: the environment has no such variable", bounded(name))
	}
	return value, nil
}

// hide takes what references led to out of a text. It is the second line of
// defence: messages about such settings are made without their values. Values of
// a letter or two would only make a text unreadable.
func (r *references) hide(s string) string {
	for _, secret := range r.secrets {
		quoted := strconv.Quote(secret)
		for _, form := range []string{secret, quoted[1 : len(quoted)-1]} {
			if len(form) >= 3 {
				s = hidden(s, form)
			}
		}
	}
	return s
}

// hidden takes a secret out of a text, of a long one also the beginning alone, as
// messages cut what is long.
func hidden(s, secret string) string {
	const enough = maxShown / 2
	start := secret[:min(len(secret), enough)]
	var b strings.Builder
	for {
		i := strings.Index(s, start)
		if i < 0 {
			return b.String() + s
		}
		end := i + len(start)
		for end < len(s) && end-i < len(secret) && s[end] == secret[end-i] {
			end++
		}
		b.WriteString(s[:i] + "***")
		s = s[end:]
	}
}
