// Form for the access token, shown when the server refuses a request without it.
import { PageElement } from "./element.js";

export class TokenForm extends PageElement {
  #form = this.child("form", HTMLFormElement);
  #input = this.child("input", HTMLInputElement);

  /** @type {Promise<void> | null} */
  #answer = null;

  /** Resolves when the user has submitted a token; waiting requests share one form. @returns {Promise<void>} */
  ask() {
    this.#answer ??= new Promise(resolve => {
      this.#form.hidden = false;
      this.#input.focus();
      this.#form.onsubmit = event => {
        event.preventDefault();
        sessionStorage.setItem("token", this.#input.value);
        this.#form.hidden = true;
        this.#answer = null;
        resolve();
      };
    });
    return this.#answer;
  }
}

customElements.define("token-form", TokenForm);
