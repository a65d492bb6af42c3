// xterm.js writes its colours and sizes into <style> elements and style attributes, which our Content-Security-Policy does not
// allow. Constructed style sheets and the CSSOM say the same and are allowed (CSP level 3 §4.2.3, CSSOM §6.6), so it is handed
// a document that makes elements which use them.

export function documentOfSheets(): Document {
  return new Proxy(document, {
    get(target, name) {
      if (name === 'createElement') return make;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/**
 * Whatever document it was handed, xterm 6.0 makes its scrollbar's style and each cell whose colour is no class (reversed,
 * dim, one of 16 million) with the page's own. So from its first opening on, that one makes such elements too.
 */
export function useSheets(): void {
  Object.defineProperty(document, 'createElement', { value: make, configurable: true });
}

function make(name: string): HTMLElement {
  const element = Document.prototype.createElement.call(document, name === 'style' ? 'template' : name);
  return name === 'style' ? sheetElement(element) : styled(element);
}

/** Nothing is shown of it; what is written into it becomes a sheet of the page until it is removed. */
function sheetElement(element: HTMLElement): HTMLElement {
  const sheet = new CSSStyleSheet();
  let text = '';
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  Object.defineProperty(element, 'textContent', {
    get: () => text,
    set(next: string) {
      text = next;
      sheet.replaceSync(next);
    },
  });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter(one => one !== sheet);
    HTMLElement.prototype.remove.call(element);
  };
  return element;
}

function styled(element: HTMLElement): HTMLElement {
  element.setAttribute = (name, value) => {
    if (name === 'style') element.style.cssText = value;
    else Element.prototype.setAttribute.call(element, name, value);
  };
  return element;
}
